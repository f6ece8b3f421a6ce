//! What operators are told in numbers.

use super::*;

#[tokio::test]
async fn what_happens_is_counted_and_timed() {
    let lab = Lab::new();
    let herd = lab.herd().await;
    herd.create(spec("web").into()).await.unwrap();
    for _ in 0..3 {
        herd.exec(&at("web"), ExecRequest::shell("true")).await.unwrap();
    }
    herd.exec_ended(Duration::from_millis(3));
    herd.stop(&at("web"), Duration::ZERO).await.unwrap();
    herd.reconcile().await.unwrap();
    let text = herd.metrics().await.unwrap();
    for line in [
        "boxherd_boxes{state=\"stopped\"} 1",
        "boxherd_boxes{state=\"running\"} 0",
        "boxherd_create_phase_seconds_count{phase=\"journal\"} 1",
        "boxherd_create_phase_seconds_count{phase=\"all\"} 1",
        "boxherd_exec_seconds_count{phase=\"start\"} 3",
        "boxherd_exec_seconds_bucket{le=\"0.0032\",phase=\"run\"} 1",
        "boxherd_links_total 1",
        "boxherd_link_reconnects_total 0",
        "boxherd_reconcile_repairs_total{kind=\"orphan\"} 0",
    ] {
        assert!(text.lines().any(|said| said == line), "no `{line}` in:\n{text}");
    }
}
