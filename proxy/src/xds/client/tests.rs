//! What the client does while nobody answers.

use std::sync::atomic::{AtomicUsize, Ordering};

use tonic::transport::Endpoint;

use super::*;

fn options(directory: &std::path::Path) -> Options {
    Options {
        node: Node::default(),
        // Nobody listens on port 1.
        channel: Endpoint::from_static("http://127.0.0.1:1").connect_lazy(),
        copy: Copy::in_directory(directory),
        fetch_timeout: Duration::from_secs(15),
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
    let (client, served) = Client::start(options(directory.path()), apply).await;
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
    let (_, served) = Client::start(options(directory.path()), apply).await;
    assert!(!served);
}
