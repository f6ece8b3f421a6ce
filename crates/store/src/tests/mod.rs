//! One suite for every database, and what is different about each.

mod accounts;
mod boxes;
mod leases;
mod meters;
mod postgres;
mod sqlite;
mod things;

use std::pin::Pin;
use std::sync::Arc;

use boxherd_model::{BoxId, BoxSpec, BoxState, EngineName, OperationId, Quota, Timestamp, UserId};

use crate::{BoxRecord, Details, Operation, OperationKind, Store, UserRecord, operations};

/// A database that is empty at first.
trait Home: Send + Sync {
    /// Another connection to it.
    fn open(&self) -> Opening<'_>;
}

type Opening<'h> = Pin<Box<dyn Future<Output = Arc<dyn Store>> + Send + 'h>>;
type Case = for<'h> fn(&'h dyn Home) -> Pin<Box<dyn Future<Output = ()> + 'h>>;

/// Names the cases of the suite: a test each for SQLite, and a list for the databases of which one is
/// started for all of them.
macro_rules! suite {
    ($($file:ident::$case:ident,)*) => {
        const CASES: &[(&str, Case)] =
            &[$((stringify!($case), |home| Box::pin($file::$case(home)))),*];

        mod on_sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    super::$file::$case(&super::sqlite::Folder::new()).await;
                }
            )*
        }
    };
}

suite! {
    boxes::what_was_written_is_read_back_whole,
    boxes::a_name_is_taken_once_per_engine_and_owner_until_its_box_is_gone,
    boxes::callers_see_boxes_of_their_own_by_name,
    boxes::an_idempotency_key_holds_for_a_day,
    boxes::of_two_with_the_same_key_at_the_same_time_one_is_refused,
    boxes::operations_of_long_ago_are_forgotten,
    boxes::snapshots_are_kept_by_box_and_go_with_it,
    boxes::facts_are_kept,
    boxes::a_transaction_that_fails_leaves_nothing,
    boxes::several_connections_write_at_once,
    boxes::several_connections_change_the_same_boxes_in_any_order,
    boxes::odd_texts_are_kept,
    accounts::users_are_kept_by_unique_names,
    accounts::keys_are_found_by_hash_and_removed_by_their_users_only,
    accounts::tokens_are_forgotten_when_they_end,
    accounts::users_are_found_by_their_own_keys_and_tokens,
    accounts::old_signing_keys_are_forgotten,
    accounts::a_public_key_is_linked_once,
    accounts::grants_are_given_and_taken,
    accounts::the_audit_log_is_read_newest_first,
    things::things_are_unique_by_kind_owner_box_and_name,
    things::a_box_takes_its_things_and_its_lease_with_it,
    leases::a_lease_is_taken_once_until_it_ends,
    leases::tokens_grow_with_every_change_of_holder,
    leases::whoever_has_a_lease_keeps_its_token,
    leases::a_lost_lease_is_neither_renewed_nor_released,
    leases::of_many_that_ask_at_once_one_gets_it,
    leases::whoever_lost_a_lease_writes_nothing_of_its_box,
    boxes::a_state_is_corrected_where_nobody_changed_the_box_meanwhile,
    boxes::whoever_changes_what_is_gone_is_told,
    meters::what_was_used_is_summed_by_day_and_counted_once,
    meters::of_many_that_count_at_once_one_does,
    meters::old_and_surplus_sums_are_forgotten,
}

fn record(name: &str) -> BoxRecord {
    BoxRecord {
        id: BoxId::new(),
        engine: EngineName::local(),
        owner: None,
        spec: BoxSpec::new(name.parse().unwrap()),
        state: BoxState::Pending,
        reason: None,
        failure: None,
        created: at(1),
        maker: None,
        last_operation: None,
        details: Details::default(),
    }
}

fn operation(kind: OperationKind, of: &BoxRecord) -> Operation {
    Operation {
        id: OperationId::new(),
        kind,
        boxes: vec![of.id],
        session: "s".to_owned(),
        key: None,
        started: at(operations::KEY_KEPT * 30),
        outcome: None,
    }
}

fn user(name: &str) -> UserRecord {
    UserRecord {
        id: UserId::new(),
        name: name.parse().unwrap(),
        admin: false,
        quota: Quota::default(),
        created: at(1),
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}
