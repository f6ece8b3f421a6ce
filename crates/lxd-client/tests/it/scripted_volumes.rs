//! Custom volumes, as servers are asked for them.

use std::collections::BTreeMap;

use boxherd_lxd_client::{Error, NewVolume};
use serde_json::{Value, json};

use crate::script::{Act, Asked as _, Script};

fn sync(metadata: Value) -> Act {
    Act::Json(200, json!({ "type": "sync", "status_code": 200, "metadata": metadata }))
}

fn refused(code: u16, error: &str) -> Act {
    Act::Json(code, json!({ "type": "error", "error_code": code, "error": error }))
}

/// An answer with the version of what it tells.
fn tagged(metadata: &Value) -> Act {
    let body = json!({ "type": "sync", "status_code": 200, "metadata": metadata }).to_string();
    let length = body.len();
    let head = format!("HTTP/1.1 200 X\r\nEtag: \"one\"\r\nContent-Length: {length}\r\n\r\n");
    Act::Raw((head + &body).into_bytes())
}

#[tokio::test]
async fn a_volume_is_made_read_changed_and_deleted_in_its_pool() {
    let script = Script::new([
        sync(Value::Null),
        tagged(&json!({ "name": "data", "config": { "size": "32MiB" }, "used_by": null })),
        sync(Value::Null),
        sync(Value::Null),
    ]);
    let client = script.client().in_project("team");
    let config = BTreeMap::from([("size".to_owned(), "32MiB".to_owned())]);
    let new = NewVolume { name: "data".to_owned(), config };
    client.create_volume("bt", &new).await.unwrap();
    let (volume, tag) = client.volume("bt", "data").await.unwrap();
    assert_eq!((volume.config["size"].as_str(), volume.used_by.len()), ("32MiB", 0));
    let change = BTreeMap::from([("user.mark".to_owned(), "1".to_owned())]);
    client.patch_volume("bt", "data", &change, &tag).await.unwrap();
    client.delete_volume("bt", "data").await.unwrap();
    let all = "/1.0/storage-pools/bt/volumes/custom";
    let expected = [
        format!("POST {all}?project=team"),
        format!("GET {all}/data?project=team"),
        format!("PATCH {all}/data?project=team"),
        format!("DELETE {all}/data?project=team"),
    ];
    assert_eq!(script.seen(), expected);
    let bodies = script.bodies();
    let made = json!({ "name": "data", "type": "custom", "content_type": "filesystem",
        "config": { "size": "32MiB" } });
    assert_eq!(bodies, [made, json!({ "config": { "user.mark": "1" } })]);
}

#[tokio::test]
async fn all_volumes_of_a_pool_come_in_one_call() {
    let script = Script::new([sync(json!([
        { "name": "a", "config": null, "content_type": "block", "location": "none" },
        { "name": "b", "used_by": ["/1.0/instances/web?project=team"] },
    ]))]);
    let volumes = script.client().volumes("bt").await.unwrap();
    assert_eq!((volumes[0].content_type.as_str(), volumes[0].config.len()), ("block", 0));
    assert_eq!(volumes[1].used_by, ["/1.0/instances/web?project=team"]);
    assert_eq!(script.seen(), ["GET /1.0/storage-pools/bt/volumes/custom?recursion=1"]);
}

#[tokio::test]
async fn what_a_server_refuses_about_a_volume_is_told_apart() {
    let script = Script::new([
        tagged(&json!({ "name": "data" })),
        refused(412, "ETag doesn't match"),
        refused(404, "Storage volume not found"),
        refused(400, "The storage volume is still in use"),
    ]);
    let client = script.client();
    let (_, tag) = client.volume("bt", "data").await.unwrap();
    let changed = client.patch_volume("bt", "data", &BTreeMap::new(), &tag).await;
    assert!(matches!(changed, Err(Error::Changed { .. })), "{changed:?}");
    let missing = client.volume("bt", "none").await;
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
    let used = client.delete_volume("bt", "data").await;
    assert!(matches!(used, Err(Error::BadRequest { .. })), "{used:?}");
}
