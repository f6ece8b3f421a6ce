//! Holds the SDK to itself: what waits and what does not have the same names and arguments, and every
//! method of the boxd SDK for Python has a counterpart, or a reason why it has none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::parse::{Parse, ParseStream};
use syn::{FnArg, Ident, ImplItem, Item, Pat, Signature, TraitItemFn, Type, Visibility, braced};

/// The names of arguments, by type and method.
type Surface = BTreeMap<String, BTreeMap<String, Vec<String>>>;

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn items(folder: &Path) -> Vec<Item> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    files.sort();
    let parse = |file: PathBuf| syn::parse_file(&fs::read_to_string(file).unwrap()).unwrap().items;
    files.into_iter().flat_map(parse).collect()
}

fn arguments(signature: &Signature) -> Vec<String> {
    let name = |argument: &FnArg| match argument {
        FnArg::Receiver(_) => "self".to_owned(),
        FnArg::Typed(typed) => match &*typed.pat {
            Pat::Ident(pattern) => pattern.ident.to_string(),
            _ => panic!("an argument of `{}` has no name", signature.ident),
        },
    };
    signature.inputs.iter().map(name).collect()
}

/// The public methods that are written out, and whether one of them is asynchronous.
fn written(items: &[Item]) -> (Surface, BTreeSet<String>) {
    let (mut surface, mut waiting) = (Surface::new(), BTreeSet::new());
    for item in items {
        let Item::Impl(block) = item else { continue };
        let Type::Path(of) = &*block.self_ty else { continue };
        let of = of.path.segments.last().unwrap().ident.to_string();
        for method in &block.items {
            let ImplItem::Fn(method) = method else { continue };
            if block.trait_.is_some() || !matches!(method.vis, Visibility::Public(_)) {
                continue;
            }
            let (name, arguments) = (method.sig.ident.to_string(), arguments(&method.sig));
            surface.entry(of.clone()).or_default().insert(name, arguments);
            if method.sig.asyncness.is_some() {
                waiting.insert(of.clone());
            }
        }
    }
    (surface, waiting)
}

/// `handles!`: types, and the signatures of their methods.
struct Handles(Vec<(Ident, Vec<Signature>)>);

impl Parse for Handles {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut types = Vec::new();
        while !input.is_empty() {
            let (name, body) = (input.parse()?, braces(input)?);
            types.push((name, body));
        }
        Ok(Self(types))
    }
}

fn braces(input: ParseStream<'_>) -> syn::Result<Vec<Signature>> {
    let body;
    braced!(body in input);
    let mut methods = Vec::new();
    while !body.is_empty() {
        methods.push(body.parse::<TraitItemFn>()?.sig);
    }
    Ok(methods)
}

/// `has!` and `told!`: `name(argument) -> Type;` and `name(argument: Type);`.
struct Short(Vec<(Ident, Option<Ident>)>);

impl Parse for Short {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut methods = Vec::new();
        while !input.is_empty() {
            let name = input.parse()?;
            let body;
            syn::parenthesized!(body in input);
            let argument = if body.is_empty() { None } else { Some(body.parse()?) };
            if body.parse::<Option<syn::Token![:]>>()?.is_some() {
                body.parse::<Type>()?;
            }
            if input.parse::<Option<syn::Token![->]>>()?.is_some() {
                input.parse::<Type>()?;
            }
            input.parse::<syn::Token![;]>()?;
            methods.push((name, argument));
        }
        Ok(Self(methods))
    }
}

fn blocking() -> Surface {
    let items = items(&sources().join("blocking"));
    let (mut surface, _) = written(&items);
    for item in &items {
        let Item::Macro(called) = item else { continue };
        let of = match called.mac.path.segments.last().unwrap().ident.to_string().as_str() {
            "handles" => {
                for (of, methods) in called.mac.parse_body::<Handles>().unwrap().0 {
                    for method in methods {
                        let (name, arguments) = (method.ident.to_string(), arguments(&method));
                        surface.entry(of.to_string()).or_default().insert(name, arguments);
                    }
                }
                continue;
            }
            "has" => "Client",
            "told" => "Builder",
            _ => continue,
        };
        for (name, argument) in called.mac.parse_body::<Short>().unwrap().0 {
            let arguments = ["self".to_owned()].into_iter().chain(argument.map(|a| a.to_string()));
            surface.entry(of.to_owned()).or_default().insert(name.to_string(), arguments.collect());
        }
    }
    surface
}

fn asynchronous() -> Surface {
    let (surface, waiting) = written(&items(&sources()));
    // What nothing is to be waited for of is the same for both.
    surface.into_iter().filter(|(of, _)| waiting.contains(of)).collect()
}

#[test]
fn what_waits_has_the_same_names_and_arguments() {
    let (there, here) = (asynchronous(), blocking());
    assert!(there.len() >= 19, "{:?}", there.keys());
    assert_eq!(there.keys().collect::<Vec<_>>(), here.keys().collect::<Vec<_>>());
    for (of, methods) in &there {
        assert_eq!(methods, &here[of], "{of}");
    }
}

/// The lines of `boxd-0.2.19.txt`, without what is said about them.
fn listed() -> Vec<(String, String)> {
    let text = include_str!("boxd-0.2.19.txt");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = |line: &str| {
        let (theirs, ours) = line.split_once(" = ").expect(line);
        (theirs.to_owned(), ours.to_owned())
    };
    lines.map(split).collect()
}

#[test]
fn every_method_of_boxd_has_a_counterpart_or_a_reason() {
    let ours: BTreeSet<String> = written(&items(&sources()))
        .0
        .into_iter()
        .flat_map(|(of, methods)| methods.into_keys().map(move |name| format!("{of}::{name}")))
        .collect();
    let listed = listed();
    assert!(listed.len() > 100, "{} methods", listed.len());
    for (theirs, counterpart) in listed {
        let reason = counterpart.strip_prefix("none: ");
        assert!(
            reason.is_some_and(|why| !why.is_empty()) || ours.contains(&counterpart),
            "`{theirs}`: there is no `{counterpart}`"
        );
    }
}
