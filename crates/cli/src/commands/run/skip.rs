//! Who could run a member of a group, or why nobody can.

use attune_api::views::{RuntimeView, WorkerView};
use attune_common::{
    model::{WorkerKind, WorkerStatus},
    requirement::Requirement,
};
use semver::Version;

/// The interpreter that will probably run it, such as `python 3.11.2`; the requirement where several workers could.
///
/// As workers choose: with a range the highest version in it, otherwise the default one.
pub(super) fn likely_interpreter(
    requirement: &Requirement,
    satisfied_by: &[String],
    workers: &[WorkerView],
) -> String {
    let name = requirement.runtime();
    let [only] = satisfied_by else { return requirement.to_string() };
    let mut fitting = offers(name, workers)
        .filter(|(worker, _)| worker.name == *only)
        .flat_map(|(_, runtime)| &runtime.interpreters)
        .map(|interpreter| version(interpreter.version.as_deref()))
        .filter(|version| requirement.accepts_version(version.as_ref()));
    let chosen = if requirement.version().is_some() { fitting.max() } else { fitting.next() };
    match chosen {
        Some(Some(version)) => format!("{name} {version}"),
        Some(None) => name.to_owned(),
        None => requirement.to_string(),
    }
}

/// Why no worker satisfies the requirement.
pub(super) fn reason(requirement: &Requirement, workers: &[WorkerView]) -> String {
    let name = requirement.runtime();
    let mut online = workers.iter().filter(|worker| worker.status == WorkerStatus::Online);
    let place = match (online.next(), online.next()) {
        (None, _) => return "no worker is online".to_owned(),
        (Some(only), None) if only.kind == WorkerKind::Dev => "on this machine",
        _ => "on any worker",
    };
    let versions: Vec<Option<&str>> = offers(name, workers)
        .flat_map(|(_, runtime)| &runtime.interpreters)
        .map(|interpreter| interpreter.version.as_deref())
        .collect();
    if versions.is_empty() {
        return format!("no {name} {place}");
    }
    match requirement.version() {
        Some(range)
            if !versions
                .iter()
                .any(|version| requirement.accepts_version(self::version(*version).as_ref())) =>
        {
            let mut versions: Vec<&str> =
                versions.iter().map(|version| version.unwrap_or("of unknown version")).collect();
            versions.dedup();
            format!("{name} {} is not {range}", versions.join(", "))
        }
        // what is missing are labels, or taints are in the way
        _ => format!("no worker satisfies '{requirement}'"),
    }
}

fn offers<'a>(
    name: &'a str,
    workers: &'a [WorkerView],
) -> impl Iterator<Item = (&'a WorkerView, &'a RuntimeView)> {
    let online = workers.iter().filter(|worker| worker.status == WorkerStatus::Online);
    online
        .flat_map(|worker| worker.runtimes.iter().map(move |runtime| (worker, runtime)))
        .filter(move |(_, runtime)| runtime.name == name)
}

fn version(text: Option<&str>) -> Option<Version> {
    text.and_then(|text| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn worker(name: &str, kind: &str, status: &str, pythons: &[Option<&str>]) -> WorkerView {
        let interpreters: Vec<_> =
            pythons.iter().map(|version| json!({"path": "/usr/bin/python3", "version": version})).collect();
        let runtimes = if interpreters.is_empty() {
            json!([])
        } else {
            json!([{"name": "python", "interpreters": interpreters}])
        };
        serde_json::from_value(json!({
            "id": "0190163d-8694-739b-aea5-966c26f8ad91", "name": name, "kind": kind, "version": "0.1.0",
            "status": status, "slots": 1, "running": 0, "runtimes": runtimes, "labels": {},
            "auto_detected": true, "architecture": "x86_64", "operating_system": "linux", "cpus": 8,
            "registered_at": "2025-06-01T11:00:00Z", "heartbeat_at": "2025-06-01T11:00:00Z",
        }))
        .unwrap()
    }

    #[test]
    fn reasons_say_what_is_missing() {
        let here = |pythons: &[Option<&str>]| vec![worker("here", "dev", "online", pythons)];
        let two = vec![
            worker("a", "agent", "online", &[Some("3.9.1")]),
            worker("b", "agent", "online", &[Some("3.9.1"), None]),
            worker("c", "agent", "lost", &[Some("3.12.0")]),
        ];
        for (requirement, workers, expected) in [
            ("ruby >=3.1", here(&[]), "no ruby on this machine"),
            ("python >=3.11", here(&[Some("3.9.1")]), "python 3.9.1 is not >=3.11"),
            ("python; gpu=nvidia", here(&[Some("3.9.1")]), "no worker satisfies 'python; gpu=nvidia'"),
            ("ruby", two.clone(), "no ruby on any worker"),
            ("python >=3.11", two, "python 3.9.1, of unknown version is not >=3.11"),
            ("python", vec![worker("c", "agent", "lost", &[])], "no worker is online"),
        ] {
            assert_eq!(reason(&requirement.parse().unwrap(), &workers), expected);
        }
    }

    #[test]
    fn the_interpreter_is_told_where_it_is_certain_enough() {
        let workers = vec![
            worker("a", "dev", "online", &[Some("3.9.1"), Some("3.12.0")]),
            worker("b", "dev", "online", &[None]),
        ];
        for (requirement, satisfied_by, expected) in [
            ("python", &["a"][..], "python 3.9.1"),
            ("python >=3.8", &["a"], "python 3.12.0"),
            ("python", &["b"], "python"),
            ("python >=3.8", &["a", "b"], "python >=3.8"),
        ] {
            let satisfied_by: Vec<String> = satisfied_by.iter().map(|name| (*name).to_owned()).collect();
            let told = likely_interpreter(&requirement.parse().unwrap(), &satisfied_by, &workers);
            assert_eq!(told, expected, "{requirement}");
        }
    }
}
