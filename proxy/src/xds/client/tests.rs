//! What the client does while nobody answers, and what it says to a server that does.

use std::sync::atomic::{AtomicUsize, Ordering};

use api::envoy::service::discovery::v3::DiscoveryRequest;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};

use super::*;

mod scripted;
mod warming;
mod worded;

fn over_ads() -> ResourceSource {
    ResourceSource { from: Source::Ads, fetch_timeout: Some(Duration::from_secs(15)) }
}

fn server(channel: Channel, incremental: bool) -> Server {
    Server { channel, incremental, metadata: MetadataMap::new(), node_on_first_message_only: true }
}

fn options(directory: &std::path::Path) -> Options {
    Options {
        node: Node::default(),
        // Nobody listens on port 1.
        server: Some(server(Endpoint::from_static("http://127.0.0.1:1").connect_lazy(), true)),
        listeners: Some(over_ads()),
        clusters: Some(over_ads()),
        names: true,
        copy: Some(Copy::in_directory(directory)),
        hold: Hold::All(Duration::from_secs(15)),
        resources: Resources::default(),
        stats: Arc::default(),
        counted_as: None,
    }
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_put_in_force_is_tried_again_without_the_control_plane() {
    let directory = tempfile::TempDir::new().unwrap();
    Copy::in_directory(directory.path()).write(&Resources::default()).unwrap();
    let (tries, counted) = (Arc::new(AtomicUsize::new(0)), Arc::new(tokio::sync::Notify::new()));
    let (count, told) = (Arc::clone(&tries), Arc::clone(&counted));
    let apply: Apply = Box::new(move |_| {
        let (tries, told) = (count.fetch_add(1, Ordering::Relaxed) + 1, Arc::clone(&told));
        Box::pin(async move {
            if tries < 3 {
                return Err("the address is in use".to_owned());
            }
            told.notify_one();
            Ok(())
        })
    });
    let (client, _handle, served) = Client::start(options(directory.path()), apply).await;
    assert!(served, "the copy was not taken up");
    tokio::select! {
        () = client.run() => unreachable!("the client follows for ever"),
        () = counted.notified() => assert_eq!(tries.load(Ordering::Relaxed), 3),
    }
}

#[tokio::test]
async fn without_a_copy_nothing_is_put_in_force() {
    let directory = tempfile::TempDir::new().unwrap();
    let apply: Apply = Box::new(|_| unreachable!("there is nothing to put in force"));
    let (_, _, served) = Client::start(options(directory.path()), apply).await;
    assert!(!served);
}

#[tokio::test]
async fn a_client_that_is_told_to_stop_has_written_its_last_change() {
    let directory = tempfile::TempDir::new().unwrap();
    let (server, mut streams) = scripted::sotw().await;
    let (put, mut snapshots) = mpsc::unbounded_channel();
    let options = Options { server: Some(server), ..options(directory.path()) };
    let (client, handle, _) = Client::start(options, scripted::record(put)).await;
    let running = tokio::spawn(client.run());
    let mut stream = streams.recv().await.unwrap();
    stream.send(scripted::clusters("1", &["a"]));
    stream.send(scripted::response(Kind::Listener, "1", vec![]));
    snapshots.recv().await.unwrap();
    handle.flush().await;
    running.abort();
    let mut kept = Resources::default();
    assert!(Copy::in_directory(directory.path()).read(&mut kept).unwrap());
    assert_eq!(kept.of(Kind::Cluster).map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a"]);
}

/// What a request says, in short.
fn words(request: &DiscoveryRequest) -> String {
    let kind = Kind::of(&request.type_url).unwrap();
    let mut text = format!("{kind:?} {:?} version {:?}", request.resource_names, request.version_info);
    if !request.response_nonce.is_empty() {
        text += &format!(" nonce {:?}", request.response_nonce);
    }
    if let Some(detail) = &request.error_detail {
        text += &format!(" refuses: {}", detail.message);
    }
    text
}
