//! Custom volumes of a real server.

use std::collections::BTreeMap;

use boxherd_lxd_client::{Error, NewVolume};

use crate::guest::{unique, with_lab};

fn mark(text: &str) -> BTreeMap<String, String> {
    [("user.mark".to_owned(), text.to_owned())].into()
}

#[test]
fn a_volume_is_changed_only_by_who_has_read_it_last() {
    with_lab("a_volume_is_changed_only_by_who_has_read_it_last", async |client, _| {
        let (pool, name) = ("default", unique("volume"));
        let new = NewVolume { name: name.clone(), config: mark("first") };
        client.create_volume(pool, &new).await.unwrap();
        let taken = client.create_volume(pool, &new).await;
        assert!(
            matches!(taken, Err(Error::Conflict { .. } | Error::BadRequest { .. })),
            "{taken:?}"
        );

        let (volume, tag) = client.volume(pool, &name).await.unwrap();
        assert_eq!((volume.content_type.as_str(), volume.used_by.len()), ("filesystem", 0));
        client.patch_volume(pool, &name, &mark("second"), &tag).await.unwrap();
        let late = client.patch_volume(pool, &name, &mark("third"), &tag).await;
        assert!(matches!(late, Err(Error::Changed { .. })), "{late:?}");
        let all = client.volumes(pool).await.unwrap();
        let found = all.iter().find(|volume| volume.name == name).unwrap();
        assert_eq!(found.config["user.mark"], "second");

        let (_, tag) = client.volume(pool, &name).await.unwrap();
        client.patch_volume(pool, &name, &mark(""), &tag).await.unwrap();
        assert!(client.volume(pool, &name).await.unwrap().0.config.is_empty());
        client.delete_volume(pool, &name).await.unwrap();
        let gone = client.volume(pool, &name).await;
        assert!(matches!(gone, Err(Error::NotFound { .. })), "{gone:?}");
    });
}
