//! Templates, with the SDK.

use boxherd_client::{Error, Sizes};

use crate::server::with_server;

with_server! {
    boxes_are_made_of_templates(server) {
        let client = server.client().await;
        let (boxes, templates) = (client.boxes(), client.templates());
        let sizes = Sizes { cpus: Some(1), memory: Some(256 << 20), ..Sizes::default() };
        let made = templates.create("small", "host", sizes).await.unwrap();
        assert_eq!(templates.list().await.unwrap(), std::slice::from_ref(&made));
        let web = templates.create_box(&made.id, Some("web")).await.unwrap();
        assert_eq!((web.cpus, web.memory, web.image.as_str()), (1, 256 << 20, "host"));
        boxes.destroy("web").await.unwrap();
        templates.remove(&made.id).await.unwrap();
        let gone = templates.create_box(&made.id, None).await;
        assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
    }
}
