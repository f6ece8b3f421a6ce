//! Trees, with the SDK.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use boxherd_client::{Error, NewBox};

use crate::sdk::output;
use crate::server::with_server;

with_server! {
    trees_go_both_ways(server) {
        let client = server.client().await;
        client.boxes().create(NewBox::named("web")).await.unwrap();
        let here = tempfile::tempdir().unwrap();
        let (from, back) = (here.path().join("from"), here.path().join("back"));
        fs::create_dir_all(from.join("deep/er")).unwrap();
        fs::write(from.join("deep/er/run.sh"), "#!/bin/sh\necho ran\n").unwrap();
        fs::set_permissions(from.join("deep/er/run.sh"), fs::Permissions::from_mode(0o750)).unwrap();
        fs::write(from.join("large"), vec![7; 3 << 20]).unwrap();
        symlink("deep/er/run.sh", from.join("link")).unwrap();
        let files = client.files("web");
        files.put_tree(&from, "/srv/it's here").await.unwrap();
        let ran = output(&client, "web", "\"/srv/it's here/link\"; stat -c %U /srv/it*/large").await;
        assert_eq!(String::from_utf8_lossy(&ran.stdout), "ran\nroot\n");
        files.get_tree("/srv/it's here", &back).await.unwrap();
        assert_eq!(fs::read_link(back.join("link")).unwrap().to_str(), Some("deep/er/run.sh"));
        assert_eq!(fs::read(back.join("large")).unwrap(), vec![7; 3 << 20]);
        let mode = fs::metadata(back.join("deep/er/run.sh")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o750);
        let none = files.get_tree("/no/such", here.path().join("x")).await;
        assert!(matches!(none, Err(Error::WrongState(_))), "{none:?}");
        let none = files.put_tree(here.path().join("y"), "/srv/y").await;
        assert!(matches!(none, Err(Error::Source(_))), "{none:?}");
        files.copy("/srv/it's here", "/srv/copy").await.unwrap();
        assert_eq!(output(&client, "web", "/srv/copy/link").await.stdout, b"ran\n");
        client.boxes().destroy("web").await.unwrap();
    }
}
