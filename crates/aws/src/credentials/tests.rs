use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU32, Ordering};

/// Temporary directory, removed on drop.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("s3-migration-credentials-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn keys(id: &str, secret: &str, token: Option<&str>) -> StaticKeys {
    StaticKeys {
        access_key_id: id.into(),
        secret_access_key: secret.into(),
        session_token: token.map(ToOwned::to_owned),
    }
}

#[tokio::test]
async fn reads_the_files_each_time_it_is_asked() {
    let scratch = Scratch::new();
    scratch.write(ACCESS_KEY_FILE, " AKIA1\n");
    scratch.write(SECRET_KEY_FILE, "\tsecret1\r\n");
    assert_eq!(read_directory(&scratch.0).await.unwrap(), keys("AKIA1", "secret1", None));
    scratch.write(SECRET_KEY_FILE, "secret2");
    scratch.write(SESSION_TOKEN_FILE, "token\n");
    assert_eq!(read_directory(&scratch.0).await.unwrap(), keys("AKIA1", "secret2", Some("token")));
}

#[tokio::test]
async fn an_empty_session_token_is_none() {
    let scratch = Scratch::new();
    for (name, text) in [(ACCESS_KEY_FILE, "a"), (SECRET_KEY_FILE, "b"), (SESSION_TOKEN_FILE, " \n")] {
        scratch.write(name, text);
    }
    assert_eq!(read_directory(&scratch.0).await.unwrap().session_token, None);
}

#[tokio::test]
async fn follows_the_kubelet_from_one_state_of_the_secret_to_the_next() {
    let scratch = Scratch::new();
    for state in ["..1", "..2"] {
        scratch.write(&format!("{state}/{ACCESS_KEY_FILE}"), &format!("id{state}"));
        scratch.write(&format!("{state}/{SECRET_KEY_FILE}"), &format!("secret{state}"));
    }
    let link = scratch.0.join(KUBELET_DATA);
    symlink("..1", &link).unwrap();
    for name in [ACCESS_KEY_FILE, SECRET_KEY_FILE] {
        symlink(format!("{KUBELET_DATA}/{name}"), scratch.0.join(name)).unwrap();
    }
    assert_eq!(read_directory(&scratch.0).await.unwrap(), keys("id..1", "secret..1", None));
    fs::remove_file(&link).unwrap();
    symlink("..2", &link).unwrap();
    fs::remove_dir_all(scratch.0.join("..1")).unwrap();
    assert_eq!(read_directory(&scratch.0).await.unwrap(), keys("id..2", "secret..2", None));
}

#[tokio::test]
async fn errors_name_the_file_and_no_content() {
    let scratch = Scratch::new();
    let missing = read_directory(&scratch.0).await.unwrap_err().to_string();
    assert!(missing.contains(&format!("{}/{ACCESS_KEY_FILE}", scratch.0.display())), "{missing}");
    scratch.write(ACCESS_KEY_FILE, "AKIASECRETIVE");
    scratch.write(SECRET_KEY_FILE, " \n");
    let empty = read_directory(&scratch.0).await.unwrap_err().to_string();
    assert!(empty.contains(SECRET_KEY_FILE) && empty.contains("the file is empty"), "{empty}");
    assert!(!empty.contains("AKIASECRETIVE"), "{empty}");
}

#[tokio::test]
async fn the_sdk_is_told_to_ask_again_soon() {
    let scratch = Scratch::new();
    scratch.write(ACCESS_KEY_FILE, "a");
    scratch.write(SECRET_KEY_FILE, "b");
    let before = SystemTime::now();
    let provider = DirectoryCredentials::new(scratch.0.clone());
    let expiry = provider.provide_credentials().await.unwrap().expiry().unwrap();
    assert!(expiry >= before + VALID_FOR && expiry <= SystemTime::now() + VALID_FOR);
}

#[test]
fn keys_are_hidden_from_debug() {
    let shown = format!("{:?}", keys("AKIA1", "s3cr3t", Some("t0k3n")));
    assert!(shown.contains("AKIA1") && !shown.contains("s3cr3t") && !shown.contains("t0k3n"), "{shown}");
}
