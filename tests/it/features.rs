//! What a library user gets who takes only a part: read from `cargo tree`, so that a careless dependency fails here.

use std::process::Command;

/// The packages that a build with these features links.
fn packages(features: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none", "--no-default-features", "--features", features])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).expect("names are text");
    let names = tree.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

#[test]
fn a_library_user_gets_no_more_than_he_takes() {
    const NOT_A_LIBRARYS: [&str; 8] = ["clap", "indicatif", "tracing-subscriber", "toml", "axum", "rusqlite", "s3s", "notify"];
    let parts: [(&str, &str, &[&str]); 5] = [
        ("", "tokio", &["hyper", "rustls", "aws-sdk-s3", "object_store"]),
        ("oss", "hyper", &["aws-sdk-s3", "aws-config", "object_store"]),
        ("s3", "aws-sdk-s3", &["object_store"]),
        ("local", "rustix", &["hyper", "rustls", "aws-sdk-s3", "object_store"]),
        ("object_store", "object_store", &["aws-sdk-s3", "aws-config"]),
    ];
    for (features, wanted, unwanted) in parts {
        let packages = packages(features);
        assert!(packages.iter().any(|name| name == wanted), "'{features}' links {wanted}");
        let found: Vec<_> = packages.iter().filter(|name| NOT_A_LIBRARYS.iter().chain(unwanted).any(|unwanted| name == unwanted)).collect();
        assert!(found.is_empty(), "'{features}' links {found:?}");
    }
}

/// One TLS stack and one HTTP stack, whatever is built in (deny.toml bans the same from the whole tree).
#[test]
fn there_is_one_tls_stack() {
    let packages = packages("s3,oss,local,object_store,dev-server,cli");
    for unwanted in ["ring", "openssl", "openssl-sys", "native-tls"] {
        assert!(!packages.iter().any(|name| name == unwanted), "{unwanted} is linked");
    }
}
