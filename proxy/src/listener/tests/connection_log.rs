//! Lines of listeners, which tell of connections.

use super::*;

fn logging(path: &std::path::Path, format: &str) -> String {
    let path = path.display();
    format!(
        "access_log: [{{name: f, typed_config: {{\"@type\": \
         type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: '{path}', \
         log_format: {{text_format_source: {{inline_string: \"{format}\\n\"}}}}}}}}],"
    )
}

#[tokio::test]
async fn each_connection_leaves_a_line_when_it_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let (served, lost) = (dir.path().join("served.log"), dir.path().join("lost.log"));
    let format = "%LISTENER_NAME% %RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %DOWNSTREAM_LOCAL_ADDRESS%";
    let (address, nowhere) = (free(), free());
    let unmatched = listener("lost", nowhere, &logging(&lost, format))
        .replace("[{filters:", "[{filter_chain_match: {destination_port: 1}, filters:");
    let plane = start(&[listener("served", address, &logging(&served, format)), unmatched]).await;
    assert!(answer(address, b"").await.starts_with("served "));
    assert_eq!(answer(nowhere, b"").await, "");
    plane.stop();
    assert_eq!(std::fs::read_to_string(&served).unwrap(), format!("served - - {address}\n"));
    assert_eq!(std::fs::read_to_string(&lost).unwrap(), format!("lost NR filter_chain_not_found {nowhere}\n"));
}
