//! Operations of a real server.

use std::time::Duration;

use boxherd_lxd_client::{Error, ExecRequest, NewInstance, Source, StateChange};

use crate::guest::{WaitFor as _, remove, tiny, unique, with_guest, with_lab};

#[test]
fn many_operations_are_awaited_on_few_connections() {
    with_lab("many_operations_are_awaited_on_few_connections", async |client, _| {
        let guest = client.instance(&unique("ops"));
        client.create_instance(&tiny(guest.name())).await.unwrap().wait().await.unwrap();
        guest.start().await.unwrap();
        let before = client.connections_opened();
        for _ in 0..10 {
            guest.change_state(StateChange::FREEZE).await.unwrap().wait().await.unwrap();
            guest.change_state(StateChange::UNFREEZE).await.unwrap().wait().await.unwrap();
        }
        let opened = client.connections_opened() - before;
        assert!(opened <= 1, "{opened} connections for 20 operations");
        remove(&guest).await;
    });
}

#[test]
fn an_operation_may_be_over_long_before_it_is_awaited() {
    with_guest("an_operation_may_be_over_long_before_it_is_awaited", |guest| async move {
        let operation = guest.change_state(StateChange::FREEZE).await.unwrap();
        guest.wait_for("Frozen").await;
        operation.wait().await.unwrap();
        let operation = guest.change_state(StateChange::UNFREEZE).await.unwrap();
        guest.wait_for("Running").await;
        operation.wait().await.unwrap();
    });
}

#[test]
fn failures_and_cancels_are_told_apart() {
    with_guest("failures_and_cancels_are_told_apart", |guest| async move {
        let exec = guest.exec(&ExecRequest::new(["sleep", "100"])).await.unwrap();
        let limit = Duration::from_millis(50);
        let error = exec.operation.wait_for(limit).await.unwrap_err();
        assert!(matches!(error, Error::Timeout { after, .. } if after == limit), "{error:?}");
        let error = exec.operation.cancel().await.unwrap_err();
        assert!(matches!(error, Error::BadRequest { .. }), "{error:?}");
        let again = guest.change_state(StateChange::START).await.unwrap().wait().await.unwrap_err();
        assert!(
            matches!(&again, Error::OperationFailed { message, .. }
            if message.contains("already running")),
            "{again:?}"
        );
    });
}

#[test]
fn names_images_and_instances_that_are_wrong_are_told_apart() {
    with_guest("names_images_and_instances_that_are_wrong_are_told_apart", |guest| async move {
        let client = guest.client().clone();
        let create = async |new: &NewInstance| match client.create_instance(new).await {
            Ok(operation) => operation.wait().await.map(drop).unwrap_err(),
            Err(error) => error,
        };
        let error = create(&tiny(guest.name())).await;
        assert!(matches!(error, Error::Conflict { .. }), "{error:?}");
        let no_image = NewInstance { source: Source::alias("none-such"), ..tiny(&unique("x")) };
        let error = create(&no_image).await;
        assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
        let error = create(&tiny("not_a_name!")).await;
        assert!(matches!(error, Error::BadRequest { .. }), "{error:?}");
        let error = client.instance("none-such").start().await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    });
}
