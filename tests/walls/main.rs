//! The walls between the rooms of `src/`: a room may use the rooms above it in the list, and none below it.
//!
//! docs/architecture.md has the same list, and this test compares the two.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails panics")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The rooms of `src/`, from the bottom of the house to the top: each may use those before it.
const ROOMS: [&str; 9] =
    ["resources", "runtime", "workloads", "settings", "records", "incidents", "alertmanager", "publish", "controller"];

/// A use of a room that the wall forbids.
#[derive(Debug, Eq, PartialEq)]
struct Violation {
    line: usize,
    used: String,
}

/// The uses in `source`, a file of `room`, of rooms that `room` may not use. `super::super` could lead out of the room, so it is not
/// allowed at all. In the root of a room (`is_root`), a single `super` leads to the crate.
fn violations(room: &str, is_root: bool, source: &str) -> Vec<Violation> {
    let allowed = ROOMS.iter().position(|known| *known == room).unwrap();
    let mut found = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        if code.contains("super::super") {
            found.push(Violation { line: number + 1, used: "super::super".to_owned() });
        }
        let of_root = code.split("super::").skip(1).filter(|_| is_root);
        for path in code.split("crate::").skip(1).chain(of_root) {
            for used in first_segments(path) {
                let is_above = ROOMS.iter().position(|known| *known == used).is_none_or(|position| position > allowed);
                if is_above {
                    found.push(Violation { line: number + 1, used });
                }
            }
        }
    }
    found
}

/// The first segments of a path such as `records::Store` or of a group such as `{records::Store, publish}`.
fn first_segments(path: &str) -> Vec<String> {
    let segment = |text: &str| -> String {
        text.trim_start().chars().take_while(|char| char.is_ascii_alphanumeric() || *char == '_').collect()
    };
    let Some(group) = path.strip_prefix('{') else {
        return vec![segment(path)];
    };
    let mut segments = vec![segment(group)];
    let mut depth = 0_usize;
    for (position, char) in group.char_indices() {
        match char {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => segments.push(segment(&group[position + 1..])),
            _ => {}
        }
    }
    segments
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn no_room_uses_a_room_below_it_in_the_list() {
    let mut problems = Vec::new();
    for room in ROOMS {
        for file in sources(&Path::new("src").join(room)) {
            let is_root = file == Path::new("src").join(room).join("mod.rs");
            for Violation { line, used } in violations(room, is_root, &fs::read_to_string(&file).unwrap()) {
                problems.push(format!("{}:{line}: the room {room} may not use {used}", file.display()));
            }
        }
    }
    assert!(
        problems.is_empty(),
        "move the shared type to a room that both may use, or pass a callback from the composition root (docs/architecture.md):\n{}",
        problems.join("\n")
    );
}

#[test]
fn every_folder_in_src_is_a_room() {
    let folder_of = |file: &PathBuf| {
        let mut parts = file.strip_prefix("src").unwrap().components();
        let first = parts.next().unwrap().as_os_str().to_str().unwrap().to_owned();
        parts.next().map(|_| first)
    };
    let found: BTreeSet<String> = sources(Path::new("src")).iter().filter_map(folder_of).collect();
    assert_eq!(found, ROOMS.map(str::to_owned).into_iter().collect());
}

#[test]
fn the_architecture_page_lists_the_same_rooms() {
    let page = fs::read_to_string("docs/architecture.md").unwrap();
    let listed: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `src/")?.split_once('`').map(|(room, _)| room.trim_end_matches('/')))
        .collect();
    assert_eq!(listed, ROOMS);
}

#[test]
fn an_arrow_upwards_is_found_in_every_form() {
    let upwards = [
        "use crate::publish::Publisher;",
        "pub use crate::publish;",
        "    let x = crate::publish::digest();",
        "use crate::{resources::digest, publish::{Publisher, Kind}};",
        "use crate::{resources::{digest, Key}, publish};",
    ];
    for line in upwards {
        assert_eq!(violations("records", false, line), [Violation { line: 1, used: "publish".to_owned() }], "{line}");
    }
    for line in
        ["use crate::resources::digest;", "use crate::{resources::digest, records};", "// crate::publish is above"]
    {
        assert_eq!(violations("records", false, line), [], "{line}");
    }
}
