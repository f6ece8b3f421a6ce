//! What a browser asks for, by the name it calls: pure.

use std::fmt;

/// The longest name in DNS, in bytes (RFC 1035 §2.3.4).
const MAX_NAME: usize = 253;
/// The longest label.
const MAX_LABEL: usize = 63;

/// What a `Host` header (RFC 9110 §7.2) or an `:authority` names. Lower case, without a port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Host {
    /// `BOX.ZONE`: the default proxy of a box.
    Box(String),
    /// `PROXY.BOX.ZONE`.
    Proxy {
        /// The proxy.
        proxy: String,
        /// The box.
        of: String,
    },
    /// A name outside of the zone.
    Domain(String),
}

impl Host {
    /// What `text` names where `zone` is the proxy's own. `None` for what leads nowhere: the zone
    /// itself, names that are deeper below it, addresses, and what is no name.
    #[must_use]
    pub fn parse(text: &str, zone: &str) -> Option<Self> {
        let name = domain_name(without_port(text))?;
        let zone = zone.to_ascii_lowercase();
        if name == zone {
            return None;
        }
        let below = name.strip_suffix(&zone).and_then(|rest| rest.strip_suffix('.'));
        let Some(below) = below else { return outside(name) };
        match below.split_once('.') {
            None => Some(Self::Box(below.to_owned())),
            Some((_, of)) if of.contains('.') => None,
            Some((proxy, of)) => Some(Self::Proxy { proxy: proxy.to_owned(), of: of.to_owned() }),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Box(of) => f.write_str(of),
            Self::Proxy { proxy, of } => write!(f, "{proxy}.{of}"),
            Self::Domain(name) => f.write_str(name),
        }
    }
}

fn outside(name: String) -> Option<Host> {
    let last = name.rsplit('.').next().unwrap_or_default();
    // A name whose last label is a number is an IPv4 address (URL standard, "ends in a number").
    let address = last.bytes().all(|byte| byte.is_ascii_digit());
    (name.contains('.') && !address).then_some(Host::Domain(name))
}

fn without_port(text: &str) -> &str {
    match text.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => text,
    }
}

/// `text` in lower case and without the dot at its end, if it is a name that DNS can have.
fn domain_name(text: &str) -> Option<String> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let good = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=MAX_LABEL).contains(&label.len())
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (text.len() <= MAX_NAME && text.split('.').all(good)).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Option<Host> {
        Host::parse(text, "boxes.example")
    }

    #[test]
    fn names_below_the_zone_are_boxes_and_their_proxies() {
        let web = Some(Host::Box("web".to_owned()));
        for text in ["web.boxes.example", "WEB.Boxes.Example:8080", "web.boxes.example.:80"] {
            assert_eq!(parse(text), web, "{text}");
        }
        let api = Host::Proxy { proxy: "api".to_owned(), of: "web".to_owned() };
        assert_eq!(parse("api.web.boxes.example"), Some(api));
        assert_eq!(Host::parse("web.localhost:1", "localhost"), web);
        assert_eq!(Host::parse("web.LOCALHOST", "LocalHost"), web);
    }

    #[test]
    fn other_names_are_domains() {
        assert_eq!(parse("App.Example.com."), Some(Host::Domain("app.example.com".to_owned())));
        // Not below the zone, though it ends like it.
        let near = Some(Host::Domain("webboxes.example".to_owned()));
        assert_eq!(parse("webboxes.example"), near);
    }

    #[test]
    fn what_leads_nowhere_is_none() {
        let long = "a".repeat(64) + ".boxes.example";
        let deep = "a.".repeat(130);
        for text in [
            "",
            ".",
            ":",
            ":80",
            "boxes.example",
            "a.b.c.boxes.example",
            ".boxes.example",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]:80",
            "::1",
            "localhost",
            "a b.boxes.example",
            "-a.boxes.example",
            "a..boxes.example",
            "büro.boxes.example",
            "web.boxes.example:x",
            "a/b.boxes.example",
            "1.2.3.4",
            "0x7f.1",
            &long,
            &deep,
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived_and_what_comes_of_it_is_lower_case(text in "\\PC{0,300}") {
            if let Some(host) = parse(&text) {
                let shown = host.to_string();
                prop_assert!(shown.len() <= MAX_NAME && !shown.is_empty());
                prop_assert_eq!(shown.to_lowercase(), shown);
            }
        }

        #[test]
        fn a_box_is_found_however_its_name_is_written(
            label in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
            zone in "[a-z]{1,10}(\\.[a-z]{1,10}){0,3}",
            port in proptest::option::of(any::<u16>()),
            upper: bool,
            dot: bool,
        ) {
            let mut text = format!("{label}.{zone}");
            if upper { text = text.to_uppercase(); }
            if dot { text.push('.'); }
            if let Some(port) = port { text.push_str(&format!(":{port}")); }
            prop_assert_eq!(Host::parse(&text, &zone), Some(Host::Box(label)));
        }
    }
}
