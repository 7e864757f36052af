//! Layers in, a configuration or errors out.

use super::keys::{KEYS, Kind};
use super::layers::{File, Layers, resolve};
use super::{Auth, Encryption, LogFormat, Origin, Problems, Resolved};
use std::path::{Path, PathBuf};

fn layers(file: &str, environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Layers {
    let pair = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    Layers {
        file: Some(File { path: PathBuf::from("conf/evenkeel.toml"), text: file.to_string() }),
        environment: environment.iter().map(pair).collect(),
        flags: flags.iter().map(|(name, value)| (*name, value.to_string())).collect(),
        sets: Vec::new(),
    }
}

fn of_file(text: &str) -> Result<Resolved, Problems> {
    resolve(&layers(text, &[], &[]))
}

/// What is wrong, as it is printed.
fn refused(outcome: Result<Resolved, Problems>) -> String {
    let whole = outcome.and_then(|resolved| resolved.configuration().map(drop));
    whole.expect_err("it is refused").to_string()
}

#[test]
fn the_stronger_layer_wins_key_by_key() {
    let file = "data = \"ships\"\nlisten = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\nlog_format = \"json\"\n";
    let environment = [("EVENKEEL_LISTEN", "127.0.0.1:3"), ("EVENKEEL_HTTP", "127.0.0.1:4"), ("EVENKEEL_AUTH", "")];
    let resolved = resolve(&layers(file, &environment, &[("listen", "127.0.0.1:5")])).unwrap();
    let configuration = resolved.configuration().unwrap();
    assert_eq!(configuration.listen, "127.0.0.1:5".parse().unwrap());
    assert_eq!(configuration.http, Some("127.0.0.1:4".parse().unwrap()));
    assert_eq!((configuration.log_format, configuration.auth), (LogFormat::Json, Auth::Scram));
    assert_eq!((configuration.log_level.as_str(), configuration.shards), ("info", Some(4)));
    let origin = |name| resolved.origin(name).map(|origin| origin.to_string());
    assert_eq!(origin("listen").as_deref(), Some("flag --listen"));
    assert_eq!(origin("http").as_deref(), Some("environment EVENKEEL_HTTP"));
    assert_eq!(origin("log_format").as_deref(), Some("conf/evenkeel.toml:4"));
    assert_eq!(origin("auth"), None);
}

#[test]
fn paths_of_a_file_are_beside_it() {
    let data = |file: &str, flags: &[(&'static str, &str)]| {
        resolve(&layers(file, &[], flags)).unwrap().configuration().unwrap().data
    };
    assert_eq!(data("data = \"ships\"", &[]), Path::new("conf/ships"));
    assert_eq!(data("data = \"/srv/ships\"", &[]), Path::new("/srv/ships"));
    assert_eq!(data("", &[("data", "ships")]), Path::new("ships"));
}

#[test]
fn settings_have_layers_too() {
    let file = "data = \"d\"\n[settings]\ncache_size = \"64MiB\"\ngc_retention = 3600\nauto_rebalance = true\nhot_max_cpu = 0.5\n";
    let mut layers = layers(file, &[("EVENKEEL_CACHE_SIZE", "128MiB"), ("EVENKEEL_SHARD_LOCK_TIMEOUT", "5")], &[]);
    layers.sets.push(("cache_size".to_string(), "32MiB".to_string()));
    let resolved = resolve(&layers).unwrap();
    let value = |name| {
        let value = resolved.setting(evenkeel_model::Setting::find(name).unwrap());
        format!("{} {}", value.text, value.origin.word())
    };
    assert_eq!(value("cache_size"), "32MiB flag");
    assert_eq!(value("shard_lock_timeout"), "5s environment");
    assert_eq!(value("gc_retention"), "1h file");
    assert_eq!(value("auto_rebalance"), "on file");
    assert_eq!(value("hot_max_cpu"), "0.5 file");
    assert_eq!(value("split_fanout"), "2 default");
}

#[test]
fn unknown_keys_are_refused_with_their_place() {
    let text = "data = \"d\"\n\n  lisetn = \"127.0.0.1:1\"\n";
    assert_eq!(
        refused(of_file(text)),
        "ERROR: conf/evenkeel.toml:3:3: unknown key \"lisetn\"\nHINT: did you mean listen?"
    );
    let hint = |text: &str| refused(of_file(text)).split("HINT: ").last().unwrap_or_default().to_string();
    assert_eq!(hint("tls-cert = \"x\""), "did you mean tls_cert?");
    assert_eq!(hint("cache_size = \"1GiB\""), "cache_size is a setting: it stands under [settings]");
    assert_eq!(hint("[settings]\nlisten = \"x\""), "listen stands at the top of the file, above [settings]");
    assert_eq!(hint("[settings]\ncache_sise = \"1GiB\""), "did you mean cache_size?");
    assert_eq!(hint("admin_password = \"x\""), "the first password is taken from EVENKEEL_ADMIN_PASSWORD alone");
    assert_eq!(hint("whatever = 1"), "evenkeel generate config shows every key");
    assert_eq!(hint("[settings]\nslot_bits = 14"), "it cannot be chosen");
    assert!(hint("[settings]\nshards = 8").starts_with("shards stands at the top of the file"));
}

#[test]
fn wrong_values_are_refused_with_their_place() {
    let first = |text: &str| refused(of_file(text)).lines().next().unwrap_or_default().to_string();
    let at =
        |line: usize, column: usize, message: &str| format!("ERROR: conf/evenkeel.toml:{line}:{column}: {message}");
    assert_eq!(first("listen = 5433"), at(1, 1, "listen takes text in double quotes, not a whole number"));
    assert_eq!(first("listen = \"5433\""), at(1, 1, "\"5433\" is not a value for listen"));
    assert_eq!(first("settings = { \"ü\" = 1, x = 2 }"), at(1, 14, "unknown setting \"ü\""));
    assert!(refused(of_file("settings = { \"ü\" = 1, x = 2 }")).contains(&at(1, 23, "unknown setting \"x\"")));
    assert_eq!(first("\ntls_only = \"yes\""), at(2, 1, "tls_only takes true or false, not text"));
    assert_eq!(first("shards = 1.5"), at(1, 1, "shards takes a whole number, not a number"));
    assert_eq!(first("shards = 0"), at(1, 1, "\"0\" is not a value for shards"));
    assert_eq!(first("data = [1]"), at(1, 1, "data takes text in double quotes, not a list"));
    assert_eq!(first("settings = 3"), at(1, 1, "settings takes a table, not a whole number"));
    assert_eq!(
        first("[settings]\n\tcache_size = 1.5"),
        at(2, 2, "cache_size takes bytes, or text such as \"64MiB\", not a number")
    );
    assert_eq!(first("[settings]\ncache_size = \"1KiB\""), at(2, 1, "\"1KiB\" is not a value for cache_size"));
    assert_eq!(first("[settings]\nauto_split = \"maybe\""), at(2, 1, "auto_split takes true or false, not text"));
    assert_eq!(first("log_level = \"inof\""), at(1, 1, "\"inof\" is not a value for log_level"));
}

#[test]
fn what_is_no_toml_is_refused_with_its_place() {
    for (text, line) in
        [("data = \"d", 1), ("data = \"d\"\nlisten\n", 2), ("data = \"d\"\ndata = \"e\"\n", 2), ("a = 1 b = 2", 1)]
    {
        let message = refused(of_file(text));
        assert!(message.starts_with(&format!("ERROR: conf/evenkeel.toml:{line}:")), "{text:?}: {message}");
    }
}

#[test]
fn every_mistake_is_named() {
    let text = "lisetn = 1\nauth = \"nobody\"\n[settings]\ncache_size = true\n";
    let mut layers = layers(text, &[("EVENKEEL_HTPP", "x")], &[("listen", "here")]);
    layers.sets.push(("nothing".to_string(), "1".to_string()));
    let message = refused(resolve(&layers));
    let places: Vec<&str> = message.lines().filter(|line| line.starts_with("ERROR: ")).collect();
    let begin = |at: usize| places[at].strip_prefix("ERROR: ").unwrap();
    assert_eq!(places.len(), 6, "{message}");
    assert!(begin(0).starts_with("conf/evenkeel.toml:1:1: "));
    assert!(begin(1).starts_with("conf/evenkeel.toml:2:1: "));
    assert!(begin(2).starts_with("conf/evenkeel.toml:4:1: "));
    assert!(begin(3).starts_with("EVENKEEL_HTPP: "));
    assert!(begin(4).starts_with("--listen: "));
    assert!(begin(5).starts_with("--set: unknown setting \"nothing\""));
    assert!(message.contains("did you mean EVENKEEL_HTTP?"), "{message}");
}

#[test]
fn variables_of_others_are_left_alone() {
    let of = |name: &str| resolve(&layers("", &[(name, "x")], &[]));
    for name in [
        "EVENKEEL_SEED",
        "EVENKEEL_BLESS",
        "EVENKEEL_CONFIG",
        "EVENKEEL_ADMIN_PASSWORD",
        "PATH",
        "EVENKEEL_SERVICE_HOST",
        "EVENKEEL_SERVICE_PORT_SQL",
        "EVENKEEL_PORT",
        "EVENKEEL_PORT_5433_TCP_ADDR",
        "EVENKEEL_HTTP_SERVICE_HOST",
        "EVENKEEL_HTTP_PORT_8080_TCP",
    ] {
        assert!(of(name).is_ok(), "{name}");
    }
    for name in ["EVENKEEL_", "EVENKEEL_LISTENN", "EVENKEEL_POTR"] {
        assert!(of(name).is_err(), "{name}");
    }
    // A variable that Kubernetes could set is no key and no setting.
    for key in KEYS {
        assert!(!key.name.ends_with("port") && !key.name.contains("port_"), "{}", key.name);
    }
    for setting in evenkeel_model::SETTINGS {
        assert!(!setting.name.ends_with("_port") && !setting.name.contains("port_"), "{}", setting.name);
    }
}

#[test]
fn the_password_comes_from_the_environment() {
    let resolved = resolve(&layers("", &[("EVENKEEL_ADMIN_PASSWORD", "hunter2")], &[])).unwrap();
    assert_eq!(resolved.admin_password.as_deref(), Some("hunter2"));
}

#[test]
fn what_does_not_go_together_is_refused() {
    let message = |file: &str| refused(of_file(&format!("data = \"d\"\n{file}")));
    assert!(message("tls_cert = \"c\"").contains("evenkeel.toml:2:1: tls_cert needs tls_key"));
    assert!(message("tls_key = \"k\"").contains("tls_key needs tls_cert"));
    assert!(message("tls_only = true").contains("tls_only needs a certificate"));
    let both = message("tls_cert = \"c\"\ntls_key = \"k\"\ntls_self_signed = true");
    assert!(
        both.contains("evenkeel.toml:4:1: tls_self_signed is not for a server with tls_cert (conf/evenkeel.toml:2)")
    );
    assert!(refused(of_file("")).contains("no directory is given for the database"));
}

#[test]
fn strangers_are_kept_out() {
    let message = |file: &str| refused(of_file(&format!("data = \"d\"\n{file}")));
    let trust = message("auth = \"trust\"\nlisten = \"0.0.0.0:5433\"");
    assert!(trust.contains("evenkeel.toml:3:1: 0.0.0.0:5433 is reached from elsewhere"), "{trust}");
    assert!(message("auth = \"trust\"\nhttp = \"[::]:8080\"").contains("[::]:8080 is reached from elsewhere"));
    assert!(message("http = \"0.0.0.0:8080\"").contains("passwords would be sent in the clear"));
    let open =
        of_file("data = \"d\"\nlisten = \"0.0.0.0:5433\"\nhttp = \"0.0.0.0:8080\"\ntls_self_signed = true").unwrap();
    assert_eq!(open.configuration().unwrap().encryption, Encryption::SelfSigned);
}

#[test]
fn what_reloads_is_adopted_and_nothing_else() {
    let mut running = of_file("data = \"d\"\nlog_level = \"info\"\n[settings]\ncache_size = \"64MiB\"\n").unwrap();
    let other = of_file("data = \"e\"\nlog_level = \"debug\"\n[settings]\ngc_retention = \"1h\"\n").unwrap();
    let reloading = KEYS.iter().filter(|key| key.reloads);
    reloading.for_each(|key| running.adopt(key, &other));
    assert_eq!(running.adopt_settings(&other), ["cache_size", "gc_retention"]);
    assert_eq!(running.text("data").as_deref(), Some("conf/d"));
    assert_eq!(running.text("log_level").as_deref(), Some("debug"));
    assert!(running.adopt_settings(&other).is_empty());
}

#[test]
fn flags_variables_and_keys_are_the_same_word() {
    for key in KEYS {
        assert_eq!(key.flag().trim_start_matches("--").replace('-', "_"), key.name);
        assert_eq!(key.variable(), format!("EVENKEEL_{}", key.name.to_uppercase()));
        assert_eq!(
            matches!(key.kind, Kind::Switch),
            key.default.is_some_and(|default| default == "false"),
            "{}",
            key.name
        );
    }
    assert_eq!(Origin::Default.to_string(), "default");
}
