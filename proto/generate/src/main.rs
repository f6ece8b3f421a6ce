//! Makes `crates/boxd-api/src/generated.rs` from `proto/boxd.proto`:
//! `cargo run --manifest-path proto/generate/Cargo.toml`.

use std::fs;
use std::path::Path;

fn main() -> anyhow::Result<()> {
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = proto.join("../crates/boxd-api/src/generated.rs");
    let scratch = std::env::temp_dir().join(format!("boxherd-proto-{}", std::process::id()));
    fs::create_dir_all(&scratch)?;
    let descriptors = protox::compile(["boxd.proto"], [&proto])?;
    tonic_prost_build::configure()
        .build_transport(false)
        .generate_default_stubs(true)
        .bytes(".")
        .out_dir(&scratch)
        .compile_fds(descriptors)?;
    let generated = fs::read_to_string(scratch.join("boxd.api.v1.rs"))?;
    fs::write(target, with_our_codec(&name_what_is_missing(&generated)))?;
    fs::remove_dir_all(scratch)?;
    Ok(())
}

/// Has every method that a server does not implement say which it is.
fn name_what_is_missing(generated: &str) -> String {
    let mut method = String::new();
    let mut lines = Vec::new();
    for line in generated.lines() {
        if let Some(rest) = line.trim_start().strip_prefix("async fn ") {
            rest.split('(').next().unwrap_or_default().clone_into(&mut method);
        }
        let named = format!("\"this server does not offer `{}`\"", camel(&method));
        lines.push(line.replace("\"Not yet implemented\"", &named));
    }
    lines.join("\n") + "\n"
}

/// Has servers answer what they cannot read as the client's mistake.
fn with_our_codec(generated: &str) -> String {
    let (client, server) = generated.split_at(generated.find("mod boxd_api_server").unwrap_or(0));
    let codec = ("tonic_prost::ProstCodec::default()", "crate::codec::ServerCodec::default()");
    client.to_owned() + &server.replace(codec.0, codec.1)
}

fn camel(method: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    method.split('_').filter(|word| !word.is_empty()).map(capital).collect()
}
