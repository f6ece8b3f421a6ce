//! Machine specs, with the SDK.

use std::time::Duration;

use boxherd_client::{Client, MachineSpec, NewBox, Package, SpecUpdate};

use crate::sdk::output;
use crate::server::with_server;

/// The commands of the box, once none of them is to run or runs; a server may answer before.
async fn ended(client: &Client) -> Vec<Package> {
    let mut looks = 0;
    loop {
        let packages = client.boxes().get("web").await.unwrap().packages;
        let goes_on = |package: &Package| ["pending", "running"].contains(&package.state.as_str());
        if !packages.iter().any(goes_on) {
            return packages;
        }
        looks += 1;
        assert!(looks < 600, "{packages:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

with_server! {
    a_box_is_made_from_a_spec_and_changed_by_patches(server) {
        let client = server.client().await;
        let boxes = client.boxes();
        let spec = MachineSpec {
            size: "1x1".to_owned(),
            env: [("COLOUR".to_owned(), "red".to_owned())].into(),
            packages: vec!["echo $COLOUR".to_owned()],
            ..MachineSpec::default()
        };
        let made = boxes.create(NewBox { spec: Some(spec.clone()), ..NewBox::named("web") }).await;
        let made = made.unwrap();
        assert_eq!((made.cpus, made.memory, made.spec.as_ref()), (1, 1 << 30, Some(&spec)));
        let packages = ended(&client).await;
        assert_eq!((packages[0].code, packages[0].output.as_str()), (Some(0), "red\n"));
        let patch = r#"{ "env": { "COLOUR": "blue" } }"#;
        let dry = SpecUpdate { dry_run: true, ..SpecUpdate::default() };
        let told = boxes.update_spec("web", patch, dry).await.unwrap();
        assert!(!told.applied && told.changes[0].0 == "env", "{told:?}");
        let done = boxes.update_spec("web", patch, SpecUpdate::default()).await.unwrap();
        assert!(done.applied && !done.rebooted && done.spec.env["COLOUR"] == "blue", "{done:?}");
        assert_eq!(output(&client, "web", "echo $COLOUR").await.stdout, b"blue\n");
        boxes.destroy("web").await.unwrap();
    }
}
