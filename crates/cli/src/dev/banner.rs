//! What `attune dev` says at its start.

use attune_api::views::PushedPack;
use attune_worker::runtime_detect::{Detection, Runtime};
use serde::Serialize;

use crate::output::{Paint, Tone, one_line};

/// A pack that was pushed at the start.
#[derive(Serialize)]
pub(crate) struct LoadedPack {
    /// Name.
    r#ref: String,
    /// Version.
    version: String,
    /// How many actions it has.
    action_count: u32,
    /// Its folder, or `built in`.
    origin: String,
}

impl LoadedPack {
    /// A pack that was pushed from somewhere.
    pub(crate) fn new(pushed: PushedPack, origin: String) -> Self {
        let pack = pushed.pack;
        Self { r#ref: pack.r#ref, version: pack.version, action_count: pack.action_count, origin }
    }
}

/// What is there. The token is not part of it: it would end up in scrollbacks and logs.
#[derive(Serialize)]
pub(crate) struct Banner<'a> {
    /// Version of the program.
    pub(crate) version: &'static str,
    /// The state folder.
    pub(crate) state_dir: String,
    /// The API's base URL.
    pub(crate) api_url: &'a str,
    /// The worker's name.
    pub(crate) worker: &'a str,
    /// How many executions run at once.
    pub(crate) slots: u32,
    /// What was found on this machine.
    pub(crate) detection: &'a Detection,
    /// Packs, in the order in which they were pushed.
    pub(crate) packs: Vec<LoadedPack>,
}

/// Width of the names on the left.
const NAMES: usize = 11;

impl Banner<'_> {
    /// The banner for people.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let mut lines = vec![format!(
            "{} {}",
            paint.paint(Tone::Strong, &format!("attune {}", self.version)),
            paint.paint(Tone::Dim, "on this machine")
        )];
        lines.push(String::new());
        let mut part = |name: &str, values: Vec<String>| {
            for (index, value) in values.iter().enumerate() {
                let name = if index == 0 { name } else { "" };
                lines.push(format!("  {}{value}", paint.paint(Tone::Dim, &format!("{name:NAMES$}"))));
            }
        };
        part("state", vec![one_line(&self.state_dir)]);
        part("API", vec![one_line(self.api_url)]);
        let slots = if self.slots == 1 { "1 slot".to_owned() } else { format!("{} slots", self.slots) };
        part("worker", vec![format!("{}, {slots}", one_line(self.worker))]);
        part("runtimes", self.runtimes(paint));
        if !self.detection.missing.is_empty() {
            part("not found", vec![paint.paint(Tone::Dim, &one_line(&self.detection.missing.join(", ")))]);
        }
        part("packs", self.packs(paint));
        lines.join("\n")
    }

    fn runtimes(&self, paint: Paint) -> Vec<String> {
        let runtimes = &self.detection.runtimes;
        if runtimes.is_empty() {
            return vec![paint.paint(Tone::Bad, "none: no action can run here")];
        }
        let names = runtimes.iter().map(|runtime| runtime.name.len()).max().unwrap_or_default();
        let versions = runtimes.iter().map(|runtime| version(runtime).len()).max().unwrap_or_default();
        let line = |runtime: &Runtime| {
            let path = runtime.default_interpreter().map(|one| one.path.display().to_string());
            let others = match runtime.interpreters.len() {
                0 | 1 => String::new(),
                count => paint.paint(Tone::Dim, &format!("  and {} more", count - 1)),
            };
            format!(
                "{}  {:versions$}  {}{others}",
                paint.paint(Tone::Good, &format!("{:names$}", runtime.name)),
                version(runtime),
                one_line(&path.unwrap_or_default()),
            )
        };
        runtimes.iter().map(line).collect()
    }

    fn packs(&self, paint: Paint) -> Vec<String> {
        let line = |pack: &LoadedPack| {
            let actions = if pack.action_count == 1 { "action" } else { "actions" };
            let origin = paint.paint(Tone::Dim, &format!("({})", one_line(&pack.origin)));
            format!("{} {}, {} {actions} {origin}", pack.r#ref, one_line(&pack.version), pack.action_count)
        };
        self.packs.iter().map(line).collect()
    }
}

fn version(runtime: &Runtime) -> String {
    let version = runtime.default_interpreter().and_then(|interpreter| interpreter.version.as_ref());
    version.map_or_else(|| "–".to_owned(), ToString::to_string)
}

/// What to try next, from another terminal.
pub(crate) fn next_steps(program: &str, state_dir: Option<&str>, paint: Paint) -> String {
    // a state folder of one's own must be named
    let option = state_dir.map(|folder| format!(" --state-dir {folder}")).unwrap_or_default();
    let steps = [
        ("run examples.tour", "run every example that this machine can"),
        ("actions list", "what else there is"),
        ("executions list", "what ran, and how it ended"),
    ];
    let commands = steps.map(|(command, meaning)| (format!("{program} {command}{option}"), meaning));
    let width = commands.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
    let lines = commands.iter().map(|(command, meaning)| {
        format!("  {command:width$}  {}", paint.paint(Tone::Dim, &format!("# {meaning}")))
    });
    let lines: Vec<String> = lines.collect();
    format!("Try, in another terminal:\n{}\n\nCtrl-C stops.", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn detection(runtimes: &serde_json::Value) -> Detection {
        serde_json::from_value(serde_json::json!({
            "schema_version": 1, "host": {"os": "linux", "arch": "x86_64"}, "runtimes": runtimes, "rejected": [],
            "missing": ["go", "r"], "hints": null, "searched": ["/usr/bin"],
            "timing": {"total_ms": 40, "slowest_probe_ms": 38, "slowest_probe": "/usr/bin/node", "probes": 3},
        }))
        .unwrap()
    }

    fn interpreter(path: &str, version: Option<&str>) -> serde_json::Value {
        serde_json::json!({
            "path": path, "resolved": path, "aliases": [], "args": [], "version": version, "raw_version": version,
            "implementation": null, "banner": null, "on_path": true, "runs_source": null,
        })
    }

    fn runtime(name: &str, interpreters: &[serde_json::Value]) -> serde_json::Value {
        serde_json::json!({
            "name": name, "source": "built_in", "file_extension": null, "args": [], "interpreters": interpreters,
        })
    }

    #[test]
    fn the_banner() {
        let detection = detection(&serde_json::json!([
            runtime("shell", &[interpreter("/usr/bin/dash", None)]),
            runtime(
                "python",
                &[
                    interpreter("/usr/bin/python3", Some("3.11.2")),
                    interpreter("/usr/local/bin/python3.12", Some("3.12.1")),
                ]
            ),
        ]));
        let mut banner = Banner {
            version: "0.1.0",
            state_dir: ".attune".to_owned(),
            api_url: "http://127.0.0.1:8650/",
            worker: "laptop",
            slots: 4,
            detection: &detection,
            packs: vec![
                LoadedPack {
                    r#ref: "examples".to_owned(),
                    version: "1.0.0".to_owned(),
                    action_count: 9,
                    origin: "built in".to_owned(),
                },
                LoadedPack {
                    r#ref: "mine".to_owned(),
                    version: "0.1".to_owned(),
                    action_count: 1,
                    origin: "./mine".to_owned(),
                },
            ],
        };
        let full = banner.render(Paint::PLAIN);
        let nothing = self::detection(&serde_json::json!([]));
        banner.detection = &nothing;
        let texts = [
            full,
            banner.render(Paint::PLAIN),
            next_steps("attune", None, Paint::PLAIN),
            next_steps("attune", Some("/tmp/state"), Paint::PLAIN),
        ];
        insta::assert_snapshot!(texts.join("\n---\n"));
    }
}
