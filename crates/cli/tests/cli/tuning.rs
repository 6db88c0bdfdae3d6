//! `--tune`: what was found is remembered, and what is remembered is used. `--precise`: there is one way.

use std::fs;

use crate::process::{Folder, Run, command, finish, kiln};

/// A model with one convolution for which there are two ways.
const MODEL: &str = "
model m(x: f32[N=1, C=32, H=20, W=20]) {
    y = x |> conv(32, 3, pad=1) as conv |> relu
    return y |> mean[H, W]
}
";

/// Runs the command with a folder of its own for what it found.
fn tuned(cache: &str, arguments: &[&str]) -> Run {
    let mut command = command(&[arguments, &["--tune", "--threads", "1"]].concat());
    command.env("KILN_CACHE", cache);
    finish(command)
}

#[test]
fn what_was_timed_once_is_remembered_for_this_machine() {
    let folder = Folder::new();
    let (model, cache) = (folder.write("m.kiln", MODEL), folder.path("a/cache"));
    let dump = ["dump", &model, "--remarks", "--stage", "program"];
    let first = tuned(&cache, &dump).exits(0);
    let file = folder.path("a/cache/tuned");
    let found = fs::read_to_string(&file).expect("what was found");
    let fields: Vec<&str> = found.trim_end().split('\t').collect();
    let [machine, subject, way] = fields[..] else { panic!("three fields in:\n{found}") };
    assert!(machine.starts_with("kiln ") && machine.ends_with(", 1 threads"), "{machine}");
    assert_eq!(subject, "3x3 convolution to 1x32x20x20 from 32 channels");
    assert!(first.stdout.contains(&format!("{way} as tuned")), "{}", first.stdout);
    assert_eq!(folder.names(), ["a", "m.kiln"]);

    // What is known is not timed again, whatever it says; lines of others are left alone.
    let other = ["direct", "F(4x4, 3x3)"].into_iter().find(|w| *w != way).expect("two ways");
    let told = format!("no answer\n{machine}\t{subject}\tanother\n{machine}\t{subject}\t{other}\n");
    fs::write(&file, &told).expect("a writable file");
    let second = tuned(&cache, &dump).exits(0);
    assert!(second.stdout.contains(&format!("{other} as tuned")), "{}", second.stdout);
    assert_eq!(fs::read_to_string(&file).expect("the file"), told);

    // Another number of threads is another machine. Lines that mean nothing do not come back.
    let mut command = command(&["bench", &model, "--repeat", "1", "--tune", "--threads", "2"]);
    command.env("KILN_CACHE", &cache);
    finish(command).exits(0);
    let both = fs::read_to_string(&file).expect("the file");
    assert_eq!((both.lines().count(), both.contains("2 threads")), (3, true), "{both}");
}

#[test]
fn a_cache_that_cannot_be_used_is_an_error_that_says_what_helps() {
    let folder = Folder::new();
    let model = folder.write("m.kiln", MODEL);
    let no_folder = folder.write("file", "");
    fs::create_dir_all(folder.path("cache/tuned")).expect("a writable folder");
    for cache in [no_folder, folder.path("cache")] {
        let run = tuned(&cache, &["bench", &model, "--repeat", "1"]).exits(1);
        assert!(run.stderr.starts_with("error: cannot "), "{}", run.stderr);
        assert!(run.stderr.contains("KILN_CACHE names another folder"), "{}", run.stderr);
    }
}

#[test]
fn nothing_is_written_where_there_is_nothing_to_choose() {
    let folder = Folder::new();
    let cache = folder.path("cache");
    let run = tuned(&cache, &["bench", "dsl/models/mlp.kiln", "--repeat", "1"]).exits(0);
    assert_eq!((run.stderr.as_str(), folder.names().len()), ("", 0));
}

#[test]
fn precise_leaves_convolutions_as_they_are() {
    let folder = Folder::new();
    let model = folder.write("m.kiln", MODEL);
    let dump = ["dump", &model, "--stage", "fused"];
    let tiled = kiln(&dump).exits(0);
    let direct = kiln(&[&dump[..], &["--precise"]].concat()).exits(0);
    assert!(tiled.stdout.contains("winograd_image"), "{}", tiled.stdout);
    assert!(!direct.stdout.contains("winograd_image"), "{}", direct.stdout);
    assert!(direct.stdout.contains(" conv("), "{}", direct.stdout);
}
