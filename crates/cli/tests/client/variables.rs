//! Variables and secrets, with the SDK.

use boxherd_client::{NewBox, Scope};

use crate::sdk::output;
use crate::server::with_server;

with_server! {
    commands_are_given_variables_and_secrets(server) {
        let client = server.client().await;
        client.boxes().create(NewBox::named("web")).await.unwrap();
        let (variables, secrets) = (client.variables(), client.secrets());
        variables.set("COLOUR", "blue", &Scope::All).await.unwrap();
        variables.set("COLOUR", "red", &Scope::of("web")).await.unwrap();
        secrets.set("PASSWORD", "hunter2", &Scope::All).await.unwrap();
        let told = output(&client, "web", "echo $COLOUR $PASSWORD").await;
        assert_eq!(String::from_utf8_lossy(&told.stdout), "red hunter2\n");
        let listed = variables.list().await.unwrap();
        let values: Vec<_> = listed.iter().filter_map(|variable| variable.value.clone()).collect();
        assert!(values.len() == 2 && values.contains(&"blue".to_owned()), "{listed:?}");
        secrets.rescope("PASSWORD", &Scope::All, &Scope::of("web")).await.unwrap();
        let secret = secrets.list().await.unwrap().remove(0);
        assert!(secret.value.is_none() && matches!(secret.scope, Scope::Box(_)), "{secret:?}");
        variables.remove("COLOUR", &Scope::of("web")).await.unwrap();
        secrets.remove("PASSWORD", &Scope::of("web")).await.unwrap();
        let told = output(&client, "web", "echo $COLOUR $PASSWORD").await;
        assert_eq!(String::from_utf8_lossy(&told.stdout), "blue\n");
        client.boxes().destroy("web").await.unwrap();
    }
}
