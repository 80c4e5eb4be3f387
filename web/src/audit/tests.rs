//! The chain, and what breaks it.

use super::*;

fn record(object: &str) -> Record {
    Record {
        actor: "ada".into(),
        method: "token".into(),
        verb: "write".into(),
        object: object.into(),
        result: "done".into(),
        ..Record::default()
    }
}

async fn three(path: &Path) -> Audit {
    let audit = Audit::open(path.to_owned()).unwrap();
    for object in ["VirtualService default/a", "Gateway default/b", "Gateway default/c"] {
        audit.write(record(object)).await;
    }
    audit
}

#[tokio::test]
async fn lines_come_back_newest_first_and_go_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    drop(three(&path).await);
    let audit = Audit::open(path).unwrap();
    audit.write(record("Gateway default/d")).await;
    let all = audit.lines(Wanted { limit: 2, ..Wanted::default() }).await.unwrap();
    let seqs: Vec<u64> = all.iter().map(|line| line.seq).collect();
    assert_eq!(seqs, [4, 3]);
    assert_eq!(all[0].previous, all[1].hash);
    let gateways = Wanted { limit: 9, before: 4, object: Some("Gateway".into()), ..Wanted::default() };
    assert_eq!(audit.lines(gateways).await.unwrap().len(), 2);
    let verified = audit.verify().await.unwrap();
    assert_eq!((verified.ok, verified.entries, verified.head), (true, 4, all[0].hash.clone()));
}

#[tokio::test]
async fn lines_that_are_written_together_follow_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let audit = three(&dir.path().join("audit.jsonl")).await;
    let several = (0..3).map(|number| Record { count: Some(number), ..record("certificate") }).collect();
    audit.write_all(several).await;
    audit.write_all(Vec::new()).await;
    let all = audit.lines(Wanted { limit: 9, ..Wanted::default() }).await.unwrap();
    assert_eq!(all.iter().map(|line| line.record.count).collect::<Vec<_>>()[..3], [Some(2), Some(1), Some(0)]);
    let verified = audit.verify().await.unwrap();
    assert_eq!((verified.ok, verified.entries), (true, 6));
}

#[tokio::test]
async fn every_single_changed_byte_breaks_the_chain_at_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let audit = three(&path).await;
    let good = std::fs::read(&path).unwrap();
    assert!(audit.verify().await.unwrap().ok);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let verified = audit.verify().await.unwrap();
        let line = good[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        assert!(!verified.ok, "byte {at} was changed unnoticed");
        assert_eq!(verified.broken.unwrap().line, line, "byte {at}");
    }
}

#[tokio::test]
async fn lines_that_are_taken_out_or_cut_off_are_missed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let audit = three(&path).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for (kept, broken) in [(vec![0, 2], 2), (vec![1, 2], 1), (vec![0, 1], 3), (vec![0, 2, 1], 2)] {
        let rest: String = kept.iter().map(|at| format!("{}\n", lines[*at])).collect();
        std::fs::write(&path, rest).unwrap();
        assert_eq!(audit.verify().await.unwrap().broken.unwrap().line, broken, "{kept:?}");
    }
}

#[tokio::test]
async fn a_line_that_a_crash_cut_short_is_taken_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    drop(three(&path).await);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    let audit = Audit::open(path).unwrap();
    audit.write(record("Gateway default/d")).await;
    let verified = audit.verify().await.unwrap();
    assert_eq!((verified.ok, verified.entries), (true, 3));
}

#[tokio::test]
async fn a_log_that_was_set_aside_is_part_of_the_chain() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let audit = three(&path).await;
    audit.tail.lock().unwrap().set_aside(&path, 1);
    audit.write(record("Gateway default/d")).await;
    assert!(dir.path().join("audit.jsonl.000000000001").exists());
    drop(audit);
    let audit = Audit::open(path.clone()).unwrap();
    audit.tail.lock().unwrap().set_aside(&path, 1);
    drop(audit);
    let audit = Audit::open(path.clone()).unwrap();
    audit.write(record("Gateway default/e")).await;
    let all = audit.lines(Wanted { limit: 9, ..Wanted::default() }).await.unwrap();
    assert_eq!(all.iter().map(|line| line.seq).collect::<Vec<_>>(), [5, 4, 3, 2, 1]);
    let verified = audit.verify().await.unwrap();
    assert_eq!((verified.ok, verified.entries), (true, 5));
    std::fs::remove_file(dir.path().join("audit.jsonl.000000000004")).unwrap();
    assert!(!audit.verify().await.unwrap().ok, "a file that is gone is missed");
}
