//! What packs bring themselves: recipes of their own, and programs.

use std::{fs, path::Path};

use attune_tests::{pack::Pack, service::Machine};
use serde_json::json;

use crate::{RECIPE, shell_pack};

#[tokio::test]
async fn a_compiled_action_runs_by_itself() {
    let machine = Machine::new().await;
    let source = "#include <stdio.h>\nint main(void) { char text[64]; size_t n = fread(text, 1, 63, stdin);\n\
                  printf(\"{\\\"bytes\\\": %zu}\\n\", n); return 0; }\n";
    let pack = Pack::default()
        .file("source/count.c", source)
        .file(
            "actions/count.yaml",
            "ref: test.count\nrunner_type: native\nentry_point: count\noutput_format: json\nparameters: {text: {type: string}}\n",
        )
        .run(&["cc", "-o", "actions/count", "source/count.c"]);
    machine.push_folder(pack.path()).await;
    let worker = machine.start(machine.settings()).await;
    let ended = machine.ended(machine.submit("count", json!({"text": "12345"})).await).await;
    let outcome = ended.outcome.unwrap();
    assert_eq!(outcome.result, Some(json!({"bytes": "{\"text\":\"12345\"}\n".len()})), "{:?}", outcome.error);
    assert_eq!(outcome.interpreter, None);
    worker.drain().await;
}

#[tokio::test]
async fn a_pack_brings_its_own_recipe_and_packs_with_the_same_lock_share_what_it_makes() {
    let machine = Machine::new().await;
    machine.push_folder(shell_pack(RECIPE).path()).await;
    let worker = machine.start(machine.settings()).await;
    let first = machine.result("show").await;
    let words: Vec<&str> = first.as_str().unwrap().split(' ').collect();
    let environment = Path::new(words[1]);
    assert_eq!(Path::new(words[0]), environment.join("bin/tool"));
    assert_eq!(fs::read_to_string(words[0]).unwrap(), format!("#!{}/bin/sh\n", environment.display()));
    // another version of the pack
    machine.push_folder(shell_pack(RECIPE).file("README.md", "new").path()).await;
    let second = machine.result("show").await;
    assert_eq!(second.as_str().unwrap().split(' ').nth(1), Some(words[1]));
    assert_ne!(second.as_str().unwrap().split(' ').nth(2), Some(words[2]), "it runs the new version");
    assert_eq!((machine.kept("packs").len(), machine.kept("environments").len()), (2, 1));
    worker.drain().await;
}
