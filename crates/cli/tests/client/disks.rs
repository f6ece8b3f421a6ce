//! Disks, with the SDK.

use boxherd_client::{Error, NewBox, Volume};

use crate::sdk::output;
use crate::server::with_server;

const SIZE: u64 = 64 << 20;

with_server! {
    a_disk_goes_from_box_to_box(server) {
        let client = server.client().await;
        let (boxes, disks) = (client.boxes(), client.disks());
        let made = match disks.create("data", SIZE).await {
            Err(Error::Unsupported(refusal)) => {
                boxherd_testkit::skip("a_disk_goes_from_box_to_box", &refusal.to_string());
                return;
            }
            made => made.unwrap(),
        };
        assert_eq!((made.size, made.status.as_str()), (SIZE, "ready"));
        let nowhere = disks.on("no-such").create("other", SIZE).await;
        assert!(matches!(nowhere, Err(Error::NotFound(_))), "{nowhere:?}");
        boxes.create(NewBox::named("one")).await.unwrap();
        disks.attach("data", "one", "/data", false).await.unwrap();
        let wrote = output(&client, "one", "echo kept > /data/note && sync").await;
        assert_eq!(wrote.code, 0, "{wrote:?}");
        let held = disks.list().await.unwrap().remove(0).attached.remove(0);
        assert_eq!((held.box_name.as_str(), held.path.as_str()), ("one", "/data"));
        let busy = disks.remove("data").await;
        assert!(matches!(busy, Err(Error::WrongState(_))), "{busy:?}");
        disks.detach(&made.id, "one").await.unwrap();
        let volume = Volume { disk: "data".to_owned(), path: "/srv/d".to_owned(), read_only: true };
        let second = NewBox { volumes: vec![volume], ..NewBox::named("two") };
        boxes.create(second).await.unwrap();
        assert_eq!(output(&client, "two", "cat /srv/d/note").await.stdout, b"kept\n");
        assert_ne!(output(&client, "two", "touch /srv/d/x").await.code, 0);
        boxes.destroy("two").await.unwrap();
        disks.remove("data").await.unwrap();
        assert!(disks.list().await.unwrap().is_empty());
        boxes.destroy("one").await.unwrap();
    }
}
