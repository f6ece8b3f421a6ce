//! What fuzz targets call, with the feature `fuzz`.

use crate::oci::{Document, Manifest, Platform, choose, read_config, without_repeats};

/// Reads what a registry sent as documents of an image, as a pull does. Any bytes are refused or read.
///
/// # Panics
///
/// When what was read is not what later steps rely on.
pub fn documents(document: &[u8], config: &[u8]) {
    let machine = Platform::of_this_machine();
    match Document::parse(document) {
        Ok(Document::Index(images)) => {
            if let Ok(chosen) = choose(&images, &machine) {
                assert!(images.contains(chosen));
            }
        }
        Ok(Document::Manifest(manifest)) => layers(&manifest, config, &machine),
        Err(error) => drop(error.to_string()),
    }
}

fn layers(manifest: &Manifest, config: &[u8], machine: &Platform) {
    let Ok((_, layers)) = read_config(manifest, config, machine) else { return };
    assert_eq!(layers.len(), manifest.layers.len());
    let kept = without_repeats(layers.clone());
    assert!(!kept.is_empty() && kept.last() == layers.last());
}
