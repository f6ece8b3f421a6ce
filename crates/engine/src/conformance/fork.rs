//! Copies of boxes.

use boxherd_model::{BoxSpec, ByteSize};

use super::limits::fill_disk;
use super::stage::{Any, Guest, code};
use super::{Outcome, Stage, theme};
use crate::Child;
use crate::TruthState::{Running, Stopped, Suspended};

theme! { "fork":
    a_copy_has_the_content,
    a_copy_is_stopped_until_it_is_started,
    the_source_keeps_running,
    a_stopped_box_can_be_copied,
    a_suspended_box_can_be_copied_and_stays_suspended,
    many_copies_at_once,
    copies_go_their_own_way,
    a_copy_of_a_copy,
    a_copy_outlives_its_source,
    the_source_outlives_its_copy,
    a_copy_has_every_kind_of_file,
    a_copy_is_listed_by_its_own_name,
    a_copy_has_its_own_host_name,
    a_copy_keeps_the_limit_of_its_disk,
    a_copy_may_have_another_limit_of_its_disk,
    no_copy_of_nothing,
    deleting_what_a_cancelled_fork_left,
}

/// Copies of `source`, which are deleted when the case ends.
async fn copies(stage: &Stage, source: &Guest, count: usize) -> Result<Vec<Guest>, Any> {
    let child = || {
        let limits = source.spec.limits;
        Child { id: stage.id(), spec: BoxSpec { limits, ..stage.spec() } }
    };
    copies_as(stage, source, (0..count).map(|_| child()).collect()).await
}

async fn copies_as(stage: &Stage, source: &Guest, children: Vec<Child>) -> Result<Vec<Guest>, Any> {
    let made = stage.engine().fork(source.id, &children).await?;
    assert_eq!(made.len(), children.len());
    let guests = children.into_iter().zip(made);
    Ok(guests.map(|(child, made)| stage.guest(child.id, child.spec, made)).collect())
}

/// One copy of `source`, started.
async fn started_copy(stage: &Stage, source: &Guest) -> Result<Guest, Any> {
    let copy = copies(stage, source, 1).await?.pop().ok_or("one was asked for")?;
    copy.start().await?;
    Ok(copy)
}

async fn a_copy_has_the_content(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    source.sh("echo content > file").await?;
    let copy = started_copy(stage, &source).await?;
    assert_eq!(copy.sh("cat file").await?, "content");
    Ok(())
}

async fn a_copy_is_stopped_until_it_is_started(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    let copy = &copies(stage, &source, 1).await?[0];
    assert!(matches!(copy.state().await?, Some(Stopped(_))));
    Ok(())
}

async fn the_source_keeps_running(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    let link = source.link().await?;
    let pid = source.spawn("exec sleep 1000").await?;
    let copy = started_copy(stage, &source).await?;
    assert_eq!(source.state().await?, Some(Running));
    assert!(source.lives(&pid).await?);
    link.stats().await?;
    assert_eq!(copy.state().await?, Some(Running));
    Ok(())
}

async fn a_stopped_box_can_be_copied(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    source.sh("echo content > file").await?;
    source.stop().await?;
    let copy = started_copy(stage, &source).await?;
    assert_eq!(copy.sh("cat file").await?, "content");
    assert!(matches!(source.state().await?, Some(Stopped(_))));
    Ok(())
}

async fn a_suspended_box_can_be_copied_and_stays_suspended(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    source.sh("echo content > file").await?;
    source.suspend().await?;
    let copy = started_copy(stage, &source).await?;
    assert_eq!(copy.sh("cat file").await?, "content");
    assert_eq!(source.state().await?, Some(Suspended));
    Ok(())
}

async fn many_copies_at_once(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    source.sh("seq 10000 > numbers").await?;
    for copy in copies(stage, &source, 10).await? {
        copy.start().await?;
        assert_eq!(copy.sh("tail -n 1 numbers").await?, "10000");
    }
    Ok(())
}

async fn copies_go_their_own_way(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    source.sh("echo first > file").await?;
    let (one, two) = (started_copy(stage, &source).await?, started_copy(stage, &source).await?);
    one.sh("echo one > file; rm -rf gone").await?;
    two.sh("rm file").await?;
    assert_eq!(source.sh("cat file").await?, "first");
    assert_eq!(one.sh("cat file").await?, "one");
    assert_eq!(two.sh("ls").await?, "");
    Ok(())
}

async fn a_copy_of_a_copy(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    source.sh("echo 1 > one").await?;
    let copy = started_copy(stage, &source).await?;
    copy.sh("echo 2 > two; rm one").await?;
    let second = started_copy(stage, &copy).await?;
    assert_eq!(second.sh("ls; cat two").await?, "two\n2");
    Ok(())
}

async fn a_copy_outlives_its_source(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    source.sh("echo content > file").await?;
    let copies = copies(stage, &source, 2).await?;
    copies[0].start().await?;
    stage.engine().delete(source.id).await?;
    stage.engine().delete(copies[0].id).await?;
    copies[1].start().await?;
    assert_eq!(copies[1].sh("cat file").await?, "content");
    Ok(())
}

async fn the_source_outlives_its_copy(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    source.sh("echo content > file").await?;
    let copy = started_copy(stage, &source).await?;
    stage.engine().delete(copy.id).await?;
    assert_eq!(source.sh("cat file").await?, "content");
    source.stop().await?;
    source.start().await?;
    assert_eq!(source.sh("cat file").await?, "content");
    Ok(())
}

async fn a_copy_has_every_kind_of_file(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    source
        .sh("mkdir -p a/b; echo x > a/b/file; chmod 640 a/b/file; ln -s nowhere a/link;
             truncate -s 50M a/sparse; touch -d @1000000000 a/b/file; chmod 1777 a")
        .await?;
    let listing =
        "find a -exec stat -c '%n %F %a %s' {} + | sort; stat -c %Y a/b/file; readlink a/link";
    let before = source.sh(listing).await?;
    let copy = started_copy(stage, &source).await?;
    assert_eq!(copy.sh(listing).await?, before);
    Ok(())
}

async fn a_copy_is_listed_by_its_own_name(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    let copy = &copies(stage, &source, 1).await?[0];
    let truth = stage.engine().inspect(copy.id).await?.ok_or("it is not there")?;
    assert_eq!(truth.name, copy.spec.name);
    Ok(())
}

async fn a_copy_has_its_own_host_name(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    let copy = started_copy(stage, &source).await?;
    assert_eq!(copy.sh("hostname").await?, copy.spec.name.to_string());
    assert_eq!(copy.sh("getent hosts $(hostname) | wc -l").await?, "1");
    assert_eq!(source.sh("hostname").await?, source.spec.name.to_string());
    Ok(())
}

async fn a_copy_keeps_the_limit_of_its_disk(stage: &Stage) -> Outcome {
    let limit = ByteSize::from_mib(64);
    let source = stage.running_with(|spec| spec.limits.disk = Some(limit)).await?;
    source.sh("head -c 16000000 /dev/urandom > file").await?;
    let copy = started_copy(stage, &source).await?;
    fill_disk(&copy, limit).await?;
    source.sh("head -c 16000000 /dev/urandom > second; sync -d second").await?;
    fill_disk(&source, limit).await?;
    // A copy of what is full is full, or may at least grow no further than its limit.
    fill_disk(&started_copy(stage, &copy).await?, limit).await?;
    Ok(())
}

async fn a_copy_may_have_another_limit_of_its_disk(stage: &Stage) -> Outcome {
    let (less, more) = (ByteSize::from_mib(48), ByteSize::from_mib(96));
    let source = stage.running_with(|spec| spec.limits.disk = Some(ByteSize::from_mib(64))).await?;
    let unlimited = stage.running().await?;
    for (source, limit) in [(&source, less), (&source, more), (&unlimited, less)] {
        let mut child = Child { id: stage.id(), spec: stage.spec() };
        child.spec.limits.disk = Some(limit);
        let copy = copies_as(stage, source, vec![child]).await?.pop().ok_or("it was asked for")?;
        copy.start().await?;
        if limit == more {
            copy.sh("head -c 80000000 /dev/urandom > much; sync -d much; rm much").await?;
        }
        fill_disk(&copy, limit).await?;
    }
    Ok(())
}

async fn no_copy_of_nothing(stage: &Stage) -> Outcome {
    let child = Child { id: stage.id(), spec: stage.spec() };
    let refused =
        stage.engine().fork(boxherd_model::BoxId::new(), std::slice::from_ref(&child)).await;
    assert_eq!(code(refused), "no-such-box");
    assert_eq!(stage.engine().inspect(child.id).await?, None);
    Ok(())
}

async fn deleting_what_a_cancelled_fork_left(stage: &Stage) -> Outcome {
    let source = stage.running().await?;
    source.sh("head -c 1000000 /dev/zero > file").await?;
    let child = Child { id: stage.id(), spec: stage.spec() };
    let children = [child.clone()];
    let polled = futures_util::FutureExt::now_or_never(stage.engine().fork(source.id, &children));
    drop(polled);
    stage.engine().delete(child.id).await?;
    assert_eq!(stage.engine().inspect(child.id).await?, None);
    // The herd asks after anything that it cut off, and resumes what stands still.
    if source.state().await? == Some(Suspended) {
        source.resume().await?;
    }
    assert_eq!(source.sh("wc -c < file").await?, "1000000");
    Ok(())
}
