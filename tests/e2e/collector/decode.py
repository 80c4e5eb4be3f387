# Messages of OTLP as JSON, a line each, read with the published definitions: standard input holds a length in decimal
# and a message, again and again. What the definitions do not know is an error.
import sys

from google.protobuf.json_format import MessageToJson, Parse

kind = sys.argv[1]
if kind == "traces":
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest as Request
elif kind == "logs":
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest as Request
else:
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest as Request

source = sys.stdin.buffer
while length := source.readline():
    body = source.read(int(length))
    request = Request()
    request.ParseFromString(body)
    text = MessageToJson(request, indent=None)
    known = Parse(text, Request()).ByteSize()
    assert known == len(body), f"of {len(body)} bytes {known} are known: {text}"
    print(text)
