//! Many boxes, many links, and questions at any time.

use futures_util::future::try_join_all;

use super::stage::{Any, Guest};
use super::{Outcome, Stage, theme};

theme! { "crowd":
    twenty_boxes_at_once,
    twenty_boxes_start_and_stop_at_once,
    boxes_do_not_share_their_files,
    boxes_do_not_see_each_others_processes,
    many_links_to_one_box,
    questions_are_answered_while_boxes_come_and_go,
    one_box_after_the_other,
}

async fn greet(guest: &Guest, number: usize) -> Outcome {
    assert_eq!(guest.sh(&format!("echo {number} > file; cat file")).await?, number.to_string());
    Ok(())
}

async fn twenty_boxes_at_once(stage: &Stage) -> Outcome {
    let one = |number| async move {
        let guest = stage.running().await?;
        greet(&guest, number).await?;
        Ok::<_, Any>(guest)
    };
    let guests = try_join_all((0..20).map(one)).await?;
    for (number, guest) in guests.iter().enumerate() {
        assert_eq!(guest.sh("cat file").await?, number.to_string());
    }
    try_join_all(guests.iter().map(|guest| stage.engine().delete(guest.id))).await?;
    Ok(())
}

async fn twenty_boxes_start_and_stop_at_once(stage: &Stage) -> Outcome {
    let guests = try_join_all((0..20).map(|_| stage.stopped())).await?;
    for _ in 0..2 {
        try_join_all(guests.iter().map(Guest::start)).await?;
        try_join_all(guests.iter().map(Guest::stop)).await?;
    }
    Ok(())
}

async fn boxes_do_not_share_their_files(stage: &Stage) -> Outcome {
    let (one, two) = (stage.running().await?, stage.running().await?);
    one.sh("echo secret > /etc/mine; echo secret > /tmp/mine; echo secret > file").await?;
    assert_eq!(two.sh("ls file /etc/mine /tmp/mine 2>/dev/null; true").await?, "");
    Ok(())
}

async fn boxes_do_not_see_each_others_processes(stage: &Stage) -> Outcome {
    let (one, two) = (stage.running().await?, stage.running().await?);
    one.spawn("exec sleep 98765").await?;
    let seen =
        two.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 9876[5]'; true").await?;
    assert_eq!(seen, "0");
    Ok(())
}

async fn many_links_to_one_box(stage: &Stage) -> Outcome {
    let guest = stage.running().await?;
    let links = try_join_all((0..30).map(|_| guest.link())).await?;
    let all = links.iter().map(|link| async {
        let exec = link.exec(guest.shell("echo here")).await?;
        exec.collect(bytes::Bytes::new(), 100).await
    });
    for done in try_join_all(all).await? {
        assert_eq!(done.stdout, "here\n");
    }
    Ok(())
}

async fn questions_are_answered_while_boxes_come_and_go(stage: &Stage) -> Outcome {
    let churn = async {
        for _ in 0..5 {
            let guest = stage.running().await?;
            guest.stop().await?;
            stage.engine().delete(guest.id).await?;
        }
        Outcome::Ok(())
    };
    let ask = async {
        loop {
            for truth in stage.engine().list().await? {
                stage.engine().inspect(truth.id).await?;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        done = churn => done,
        failed = ask => failed,
    }
}

async fn one_box_after_the_other(stage: &Stage) -> Outcome {
    for number in 0..10 {
        let guest = stage.running().await?;
        greet(&guest, number).await?;
        stage.engine().delete(guest.id).await?;
    }
    Ok(())
}
