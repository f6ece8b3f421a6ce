//! What the image store makes of the documents of a registry: no panic.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let cut = input.iter().position(|byte| *byte == 0).unwrap_or(input.len());
    let (document, config) = input.split_at(cut);
    boxherd_image::fuzz::documents(document, config.get(1..).unwrap_or_default());
});
