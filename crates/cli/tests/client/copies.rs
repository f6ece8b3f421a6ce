//! Copies that are not in all like their source, with the SDK.

use boxherd_client::NewBox;

use crate::lab::Lab;
use crate::sdk::output;
use crate::server::Server;

#[test]
fn a_copy_has_the_size_that_is_asked_for() {
    let test = "a_copy_has_the_size_that_is_asked_for";
    if !boxherd_testkit::programs_or_skip(test, &["mkfs.btrfs", "umount"]) {
        return;
    }
    let Some(lab) = Lab::open(test) else { return };
    lab.boxherd(&["doctor", "--fix", "--pool", "512MiB"]).ok();
    let server = Server::open_on(lab, &[]);
    tokio::runtime::Runtime::new().expect("an event loop").block_on(async {
        let client = server.client().await;
        let boxes = client.boxes();
        let mib = |count: u64| Some(count << 20);
        let web = NewBox { disk: mib(64), memory: mib(256), ..NewBox::named("web") };
        boxes.create(web).await.unwrap();
        let more = NewBox { disk: mib(128), memory: mib(512), ..NewBox::named("more") };
        let more = boxes.fork_as("web", more).await.unwrap();
        assert_eq!((Some(more.disk), Some(more.memory)), (mib(128), mib(512)));
        let same = boxes.fork_as("web", NewBox::named("same")).await.unwrap();
        assert_eq!((Some(same.disk), Some(same.memory)), (mib(64), mib(256)));
        for (name, fits) in [("web", false), ("same", false), ("more", true)] {
            let written =
                output(&client, name, "head -c 90000000 /dev/urandom > /root/f && sync /root/f");
            let written = written.await;
            assert_eq!(written.code == 0, fits, "{name}: {written:?}");
        }
        for name in ["web", "same", "more"] {
            boxes.destroy(name).await.unwrap();
        }
    });
}
