//! What a box is like, changed with the SDK.

use std::collections::BTreeMap;
use std::time::Duration;

use boxherd_client::{Error, NewBox};

use crate::server::with_server;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

with_server! {
    labels_are_set_and_select(server) {
        let client = server.client().await;
        let boxes = client.boxes();
        let new = NewBox { labels: labels(&[("tier", "front"), ("old", "1")]), ..NewBox::named("web") };
        boxes.create(new).await.unwrap();
        let now = boxes.label("web", &[("a", "b")], &["old"]).await.unwrap();
        assert_eq!(now, labels(&[("a", "b"), ("tier", "front")]));
        assert_eq!(boxes.list_where(&["tier=front", "!old"]).await.unwrap().len(), 1);
        assert!(boxes.list_where(&["tier!=front"]).await.unwrap().is_empty());
        let one = boxes.replace_labels("web", &[("c", "d")]).await.unwrap();
        assert_eq!(one, labels(&[("c", "d")]));
        boxes.destroy("web").await.unwrap();
    }

    sizes_and_timers_are_set_and_told(server) {
        let client = server.client().await;
        let boxes = client.boxes();
        let hour = Duration::from_secs(3600);
        let new = NewBox { suspend_after_idle: Some(hour), memory: Some(256 << 20), ..NewBox::named("web") };
        let made = boxes.create(new).await.unwrap();
        assert_eq!((made.suspend_after_idle, made.memory), (Some(hour), 256 << 20));
        boxes.wait_until_ready("web", Duration::from_secs(60)).await.unwrap();
        let resized = boxes.resize("web", Some(1), Some(128 << 20)).await.unwrap();
        assert_eq!((resized.cpus, resized.memory, resized.restarted), (1, 128 << 20, true));
        boxes.suspend_after("web", None).await.unwrap();
        boxes.hibernate_after("web", Some(2 * hour)).await.unwrap();
        let at = boxes.delete_after("web", Some(hour)).await.unwrap();
        let told = boxes.get("web").await.unwrap();
        assert_eq!((told.suspend_after_idle, told.hibernate_after_idle), (None, Some(2 * hour)));
        assert!(at.is_some() && told.delete_at_ms == at, "{told:?}");
        assert_eq!(boxes.delete_after("web", None).await.unwrap(), None);
        let friday = boxes.delete_by_cron("web", "0 18 * * 5").await.unwrap();
        assert!(friday.is_some() && boxes.get("web").await.unwrap().delete_at_ms == friday);
        assert_eq!(boxes.delete_after("web", None).await.unwrap(), None);
        boxes.ignore_outbound("web", true).await.unwrap();
        boxes.stop("web").await.unwrap();
        let stopped = boxes.wait_until_ready("web", Duration::from_secs(60)).await;
        assert!(matches!(stopped, Err(Error::WrongState(_))), "{stopped:?}");
        let used = boxes.usage("web", None, None).await.unwrap();
        assert!(used.name == "web" && 0 < used.from && used.from <= used.to, "{used:?}");
        boxes.destroy("web").await.unwrap();
        let used = boxes.usages(None, None).await.unwrap();
        assert!(used.iter().any(|used| used.name == "web"), "{used:?}");
    }
}
