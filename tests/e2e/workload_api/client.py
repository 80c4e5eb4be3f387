"""A program that asks the Workload API as py-spiffe does; prints what came of it as JSON.

client.py all SOCKET FOLDER     everything there is, until the certificate was renewed
client.py as UID SOCKET         as a user: its certificate's SPIFFE ID, or why there is none
client.py hold UID SOCKET       as a user: each SPIFFE ID that it is told, and how the stream ended
client.py bare SOCKET           the answer to a call without the metadata that the API asks for
"""

import json
import os
import sys
import threading

import grpc
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe import JwtSvid, TrustDomain, WorkloadApiClient
from spiffe._proto import workload_pb2, workload_pb2_grpc

PATIENCE = 60


def save(folder, svid, roots):
    def write(name, parts):
        with open(os.path.join(folder, name), "wb") as file:
            file.writelines(parts)

    leaf, *rest = [certificate.public_bytes(Encoding.PEM) for certificate in svid.cert_chain]
    write("leaf.pem", [leaf])
    write("chain.pem", [leaf, *rest])
    write("intermediates.pem", rest)
    write("key.pem", [svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())])
    write("roots.pem", [root.public_bytes(Encoding.PEM) for root in roots])


def refused(call):
    try:
        call()
    except Exception as error:
        return str(error)
    return ""


def everything(socket, folder):
    client = WorkloadApiClient(f"unix:{socket}", default_timeout=PATIENCE)
    svid = client.fetch_x509_svid()
    roots = client.fetch_x509_bundles().get_bundle_for_trust_domain(svid.spiffe_id.trust_domain).x509_authorities
    save(folder, svid, roots)
    token = client.fetch_jwt_svid(audience={"ratings"})
    again = client.fetch_jwt_svid(audience={"ratings"}, subject=token.spiffe_id)
    bundle = client.fetch_jwt_bundles().get_bundle_for_trust_domain(TrustDomain("cluster.local"))
    told = {
        "id": str(svid.spiffe_id),
        "roots": len(roots),
        "token": str(token.spiffe_id),
        "verified": str(JwtSvid.parse_and_validate(token.token, bundle, {"ratings"}).spiffe_id),
        "validated": str(client.validate_jwt_svid(token.token, "ratings").spiffe_id),
        "kept": token.token == again.token,
        "other audience": refused(lambda: client.validate_jwt_svid(token.token, "productpage")),
        "changed": refused(lambda: client.validate_jwt_svid(token.token[:-8] + "AAAAAAAA", "ratings")),
        "another's": refused(lambda: client.fetch_jwt_svid(audience={"a"}, subject="spiffe://cluster.local/x")),
        "secret": token.token,
    }
    serials, errors, renewed = [], [], threading.Event()

    def taken(context):
        serials.append(context.default_svid.leaf.serial_number)
        if len(set(serials)) > 1:
            renewed.set()

    handle = client.stream_x509_contexts(taken, errors.append, retry_connect=False)
    told["renewed"] = renewed.wait(PATIENCE)
    handle.cancel()
    told["errors"] = [str(error) for error in errors]
    return told


def become(uid):
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)


def hold(uid, socket):
    become(uid)
    stub = workload_pb2_grpc.SpiffeWorkloadAPIStub(grpc.insecure_channel(f"unix:{socket}"))
    meant = [("workload.spiffe.io", "true")]
    try:
        for told in stub.FetchX509SVID(workload_pb2.X509SVIDRequest(), timeout=5 * PATIENCE, metadata=meant):
            print(told.svids[0].spiffe_id, flush=True)
        return {"code": "OK"}
    except grpc.RpcError as error:
        return {"code": error.code().name}


def as_user(uid, socket):
    become(uid)
    try:
        svid = WorkloadApiClient(f"unix:{socket}", default_timeout=PATIENCE).fetch_x509_svid(timeout=PATIENCE)
        return {"id": str(svid.spiffe_id)}
    except Exception as error:
        return {"error": str(error)}


def bare(socket):
    stub = workload_pb2_grpc.SpiffeWorkloadAPIStub(grpc.insecure_channel(f"unix:{socket}"))
    try:
        return {"answer": len(list(stub.FetchX509SVID(workload_pb2.X509SVIDRequest(), timeout=PATIENCE)))}
    except grpc.RpcError as error:
        return {"code": error.code().name, "details": error.details()}


kind, *arguments = sys.argv[1:]
if kind == "all":
    said = everything(*arguments)
elif kind == "as":
    said = as_user(int(arguments[0]), arguments[1])
elif kind == "hold":
    said = hold(int(arguments[0]), arguments[1])
else:
    said = bare(*arguments)
print(json.dumps(said))
