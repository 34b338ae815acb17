//! Ruby: Bundler, with a lock file and without.

use std::fs;

use attune_tests::{
    pack::Pack,
    service::{Machine, runtimes},
};

const GEM: &str = "Gem::Specification.new { |s| s.name = 'greet'; s.version = '1.2.3'; s.summary = 'x'; s.authors = ['x']; \
                   s.files = ['lib/greet.rb'] }";

const GREET: &str = "module Greet; WORD = 'hello'; end\n";

const GEMFILE_LOCK: &str = "GEM\n  remote: https://rubygems.org/\n  specs:\n    greet (1.2.3)\n\n\
                            PLATFORMS\n  ruby\n\nDEPENDENCIES\n  greet\n";

/// For a gem in a folder of the pack.
const GEMFILE_LOCK_OF_PATH: &str = "PATH\n  remote: gems/greet\n  specs:\n    greet (1.2.3)\n\nGEM\n  specs:\n\n\
                                    PLATFORMS\n  ruby\n\nDEPENDENCIES\n  greet!\n";

/// Runs an action of a pack that requires the gem, and returns from where it came.
async fn required(pack: Pack) -> String {
    let machine = Machine::new().await;
    let script = "require 'greet'; require 'json'; puts JSON.generate([Greet::WORD, $LOADED_FEATURES.grep(/greet.rb/)[0]])\n";
    let pack = pack.action("greet", "rb", "runner_type: ruby\n", script);
    machine.push_folder(pack.path()).await;
    let worker = machine.start_with(machine.settings(), runtimes("ruby").await);
    let result = machine.result("greet").await;
    assert_eq!(result[0], "hello");
    worker.drain().await;
    result[1].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn ruby_finds_the_gems_that_the_pack_brings() {
    let gem = Pack::default().file("greet.gemspec", GEM).file("lib/greet.rb", GREET);
    let gem = gem.run(&["gem", "build", "greet.gemspec", "--output", "greet-1.2.3.gem"]);
    for lock in [Some(GEMFILE_LOCK), None] {
        let mut pack = Pack::default().file("Gemfile", "source 'https://rubygems.org'\ngem 'greet'\n");
        if let Some(lock) = lock {
            pack = pack.file("Gemfile.lock", lock);
        }
        fs::create_dir_all(pack.path().join("vendor/cache")).unwrap();
        fs::copy(gem.path().join("greet-1.2.3.gem"), pack.path().join("vendor/cache/greet-1.2.3.gem"))
            .unwrap();
        let place = required(pack).await;
        assert!(place.contains("/cache/environments/"), "with {lock:?} from {place}");
    }
}

#[tokio::test]
async fn ruby_finds_what_a_gemfile_names_with_a_lock_and_without() {
    for lock in [Some(GEMFILE_LOCK_OF_PATH), None] {
        let mut pack = Pack::default()
            .file("Gemfile", "gem 'greet', path: 'gems/greet'\n")
            .file("gems/greet/greet.gemspec", GEM)
            .file("gems/greet/lib/greet.rb", GREET);
        if let Some(lock) = lock {
            pack = pack.file("Gemfile.lock", lock);
        }
        let place = required(pack).await;
        assert!(place.ends_with("/gems/greet/lib/greet.rb"), "with {lock:?} from {place}");
    }
}
