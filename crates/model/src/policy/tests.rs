use proptest::prelude::*;

use super::*;

fn any_state() -> impl Strategy<Value = BoxState> {
    proptest::sample::select(BoxState::ALL.to_vec())
}

fn any_request() -> impl Strategy<Value = Request> {
    proptest::sample::select(Request::ALL.to_vec())
}

/// What the engine does for a request that proceeds, when all goes well.
fn events_of(request: Request) -> &'static [Event] {
    match request {
        Request::Start => &[Event::Starting, Event::Started],
        Request::Stop => &[Event::Stopped(StopReason::Requested)],
        Request::Restart => {
            &[Event::Stopped(StopReason::Requested), Event::Starting, Event::Started]
        }
        Request::Suspend => &[Event::Suspended],
        Request::Resume => &[Event::Resumed],
        Request::Hibernate => &[Event::Hibernated],
        Request::Delete => &[Event::Deleting, Event::Gone],
        Request::Fork
        | Request::Snapshot
        | Request::Restore
        | Request::Use
        | Request::Rename
        | Request::Label
        | Request::Change
        | Request::Disk => &[],
    }
}

/// What the herd does with one request: the state after it.
fn serve(state: BoxState, request: Request) -> Option<BoxState> {
    let step = |state, events: &[Event]| events.iter().try_fold(state, |s, e| after(s, *e));
    match decide(state, request) {
        Err(_) | Ok(Decision::AlreadySo) => Some(state),
        Ok(Decision::Proceed) => step(state, events_of(request)),
        Ok(Decision::WakeThenProceed) => {
            let awake = step(state, &[Event::Resumed])?;
            match decide(awake, request) {
                Ok(Decision::Proceed) => step(awake, events_of(request)),
                Ok(Decision::AlreadySo) => Some(awake),
                _ => None,
            }
        }
    }
}

proptest! {
    #[test]
    fn no_sequence_of_requests_reaches_an_undefined_state(
        start in any_state(),
        requests in proptest::collection::vec(any_request(), 0..40),
    ) {
        let mut state = start;
        for request in requests {
            let next = serve(state, request);
            prop_assert!(next.is_some(), "{request} in {state} leads nowhere");
            state = next.unwrap();
        }
    }

    #[test]
    fn delete_always_ends_in_gone(state in any_state()) {
        prop_assert_eq!(serve(state, Request::Delete), Some(BoxState::Gone));
    }

    #[test]
    fn nothing_leads_out_of_gone(request in any_request()) {
        prop_assert_eq!(serve(BoxState::Gone, request), Some(BoxState::Gone));
    }

    #[test]
    fn what_is_asked_twice_is_done_once(state in any_state(), request in any_request()) {
        if decide(state, request) == Ok(Decision::AlreadySo) {
            prop_assert_eq!(serve(state, request), Some(state));
        }
    }
}

#[test]
fn a_box_in_the_middle_of_starting_takes_delete_and_labels_only() {
    for request in Request::ALL {
        let decision = decide(BoxState::Starting, request);
        let taken = matches!(request, Request::Delete | Request::Label);
        assert_eq!(decision.is_ok(), taken, "{request}");
    }
}

#[test]
fn any_use_wakes_a_suspended_box() {
    assert_eq!(decide(BoxState::Suspended, Request::Use), Ok(Decision::WakeThenProceed));
    assert_eq!(serve(BoxState::Suspended, Request::Use), Some(BoxState::Running));
}

#[test]
fn refusals_have_distinct_codes() {
    let refusals = [
        Refusal::NotRunning { state: BoxState::Stopped },
        Refusal::NotStopped { state: BoxState::Running },
        Refusal::InProgress { state: BoxState::Pending },
        Refusal::Failed,
        Refusal::Deleting,
        Refusal::Gone,
    ];
    let codes: std::collections::BTreeSet<_> = refusals.iter().map(|r| r.code()).collect();
    assert_eq!(codes.len(), refusals.len());
}
