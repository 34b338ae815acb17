//! Node.js: `npm ci`.

use attune_tests::{
    pack::Pack,
    service::{Machine, runtimes},
};
use serde_json::json;

#[tokio::test]
async fn node_finds_modules_by_require_and_by_import() {
    let machine = Machine::new().await;
    let pack = Pack::default()
        .file("vendor/greet/package.json", r#"{"name": "greet", "version": "2.0.0", "main": "index.js"}"#)
        .file("vendor/greet/index.js", "module.exports = () => 'hello';")
        .file("package.json", r#"{"name": "test", "dependencies": {"greet": "file:vendor/greet"}}"#)
        .run(&["npm", "install", "--package-lock-only", "--offline", "--no-audit"])
        .file("actions/lib/say.mjs", "import greet from 'greet'; export const say = greet();")
        .action(
            "import",
            "mjs",
            "runner_type: node\n",
            "import greet from 'greet'; import {say} from './lib/say.mjs'; console.log(JSON.stringify([greet(), say]));",
        )
        .action("require", "js", "runner_type: node\n", "console.log(JSON.stringify([require('greet')()]));");
    machine.push_folder(pack.path()).await;
    let worker = machine.start_with(machine.settings(), runtimes("node").await);
    assert_eq!(machine.result("import").await, json!(["hello", "hello"]));
    assert_eq!(machine.result("require").await, json!(["hello"]));
    assert_eq!(machine.kept("environments").len(), 1);
    worker.drain().await;
}
