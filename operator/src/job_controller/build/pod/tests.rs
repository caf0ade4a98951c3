use super::*;
use crate::job_controller::validate::tests::validated;
use serde_json::{Value, json};

fn spec(program: Program, job: &ValidatedJob) -> Value {
    serde_json::to_value(template(job, program, "photos-config".into())).unwrap()["spec"].clone()
}

#[test]
fn every_program_has_the_security_settings() {
    let verify = Program::Verify(VerifyMethod::Listing);
    for program in [Program::Worker, Program::Send, verify, Program::Report, Program::AbortUploads] {
        let spec = spec(program, &validated(|_| ()));
        let context = json!({
            "runAsNonRoot": true, "runAsUser": 65_532, "runAsGroup": 65_532, "fsGroup": 65_532,
            "seccompProfile": {"type": "RuntimeDefault"}
        });
        assert_eq!(spec["securityContext"], context);
        let context = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}
        });
        assert_eq!(spec["containers"][0]["securityContext"], context);
        assert_eq!(spec["automountServiceAccountToken"], false);
        assert_eq!(spec["shareProcessNamespace"], true, "a signal would be lost while it starts");
        assert_eq!(spec["terminationGracePeriodSeconds"], 120);
    }
}

#[test]
fn programs_get_their_command_and_their_names() {
    let job = validated(|_| ());
    let container = |program| spec(program, &job)["containers"][0].clone();
    let worker = container(Program::Worker);
    assert_eq!(
        (&worker["command"], &worker["args"]),
        (&json!(["/usr/local/bin/worker"]), &json!(["--config", "/etc/s3-migration/job.yaml"]))
    );
    assert_eq!(worker["env"].as_array().unwrap().len(), 3);
    assert_eq!(worker["image"], "worker:1");
    let send = container(Program::Send);
    assert_eq!(send["args"], json!(["--config", "/etc/s3-migration/job.yaml", "send"]));
    assert_eq!(send["env"][1]["valueFrom"]["fieldRef"]["fieldPath"], "metadata.labels['batch.kubernetes.io/job-name']");
    assert_eq!(container(Program::AbortUploads)["args"][2], "abort-uploads");
}

#[test]
fn all_pods_of_a_job_have_one_session_name_unless_the_user_gives_another() {
    let named = |program, job: &ValidatedJob| {
        let environment = spec(program, job)["containers"][0]["env"].clone();
        let all = environment.as_array().unwrap().iter().filter(|one| one["name"] == SESSION_NAME);
        all.map(|one| one["value"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let job = validated(|_| ());
    for program in [Program::Worker, Program::Send, Program::AbortUploads] {
        assert_eq!(named(program, &job), ["s3-migration-u-1"]);
    }
    let longest = format!("s3-migration-{}", "01234567-89ab-cdef-0123-456789abcdef");
    assert!(longest.len() <= 64);
    let job = validated(|job| {
        job.spec.worker = serde_yaml::from_str("env: [{name: AWS_ROLE_SESSION_NAME, value: mine}]").unwrap();
    });
    assert_eq!(named(Program::Worker, &job), ["mine"]);
}

#[test]
fn metrics_have_a_port_with_a_name_that_the_user_may_move() {
    let ports = |program, env: &str| {
        let job = validated(|job| {
            job.spec.worker = serde_yaml::from_str(&format!("env: [{env}]")).unwrap();
            job.spec.jobsender = job.spec.worker.clone();
        });
        let container = spec(program, &job)["containers"][0].clone();
        let set = container["env"].as_array().unwrap().iter().filter(|one| one["name"] == METRICS_PORT);
        let set: Vec<_> = set.map(|one| one["value"].as_str().unwrap().to_owned()).collect();
        (container["ports"].clone(), set)
    };
    let port = |port: u16| json!([{"name": "metrics", "containerPort": port, "protocol": "TCP"}]);
    for program in [Program::Worker, Program::Send, Program::Preflight] {
        assert_eq!(ports(program, ""), (port(8080), vec!["8080".to_owned()]));
        let moved = "{name: METRICS_PORT, value: '9100'}";
        assert_eq!(ports(program, moved), (port(9100), vec!["9100".to_owned()]));
        let off = "{name: METRICS_PORT, value: '0'}";
        // Prometheus would read from a declared port for ever in vain.
        assert_eq!(ports(program, off), (Value::Null, vec!["0".to_owned()]));
    }
}

#[test]
fn secrets_are_mounted_and_never_in_the_environment() {
    let spec = spec(Program::Worker, &validated(|_| ()));
    let volumes: Vec<_> =
        spec["volumes"].as_array().unwrap().iter().filter_map(|v| v["secret"]["secretName"].as_str()).collect();
    assert_eq!(volumes, ["from", "to", "queue"]);
    let mounts = spec["containers"][0]["volumeMounts"].as_array().unwrap();
    assert_eq!(mounts[2]["mountPath"], "/var/run/s3-migration/credentials/destination");
    assert!(mounts.iter().all(|mount| mount["readOnly"] == true));
    assert!(!spec.to_string().contains("secretKeyRef"));
}

#[test]
fn memory_follows_the_limit_of_what_is_held() {
    let job = validated(|job| job.spec.transfer.memory_limit = ByteSize::mib(1024));
    let resources = spec(Program::Worker, &job)["containers"][0]["resources"].clone();
    assert_eq!(resources, json!({"requests": {"cpu": "100m", "memory": "1088Mi"}, "limits": {"memory": "1280Mi"}}));
}

#[test]
fn the_users_settings_reach_the_pod_and_ours_stay() {
    let job = validated(|job| {
        job.spec.worker = serde_yaml::from_str(
            r"
image: mine:2
imagePullPolicy: Never
resources: {limits: {memory: 2Gi}}
nodeSelector: {disk: fast}
tolerations: [{key: spot, operator: Exists}]
serviceAccountName: mover
env: [{name: RUST_LOG, value: debug}]
annotations: {team: media}
",
        )
        .unwrap();
    });
    let template = serde_json::to_value(template(&job, Program::Worker, "c".into())).unwrap();
    let (spec, container) = (&template["spec"], &template["spec"]["containers"][0]);
    assert_eq!((&container["image"], &container["imagePullPolicy"]), (&json!("mine:2"), &json!("Never")));
    assert_eq!(container["resources"], json!({"limits": {"memory": "2Gi"}}));
    assert_eq!(container["env"][1], json!({"name": "RUST_LOG", "value": "debug"}));
    assert_eq!(spec["nodeSelector"]["disk"], "fast");
    assert_eq!((&spec["serviceAccountName"], &spec["tolerations"][0]["key"]), (&json!("mover"), &json!("spot")));
    assert_eq!(template["metadata"]["annotations"]["team"], "media");
    assert_eq!(template["metadata"]["annotations"][names::CONFIG_ANNOTATION], job.config_hash);
}

#[test]
fn where_and_as_whom_pods_run_is_the_users_choice() {
    let job = validated(|job| {
        job.spec.worker = serde_yaml::from_str(
            r"
imagePullSecrets: [{name: mine}]
topologySpreadConstraints:
  - {maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}
  - {maxSkew: 2, topologyKey: node, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {a: b}}}
priorityClassName: low
labels: {team: media, app.kubernetes.io/component: mine}
terminationGracePeriodSeconds: 300
securityContext: {runAsUser: 7, seLinuxOptions: {type: container_t}}
",
        )
        .unwrap();
    });
    let template = serde_json::to_value(template(&job, Program::Worker, "c".into())).unwrap();
    let (labels, spec) = (&template["metadata"]["labels"], &template["spec"]);
    assert_eq!((&labels["team"], &labels["app.kubernetes.io/component"]), (&json!("media"), &json!("worker")));
    assert_eq!((&spec["imagePullSecrets"], &spec["priorityClassName"]), (&json!([{"name": "mine"}]), &json!("low")));
    let own = json!({
        "app.kubernetes.io/name": "s3-migration", "app.kubernetes.io/component": "worker", "s3migration.dev/job": "photos",
    });
    let spread = &spec["topologySpreadConstraints"];
    assert_eq!((&spread[0]["labelSelector"]["matchLabels"], &spread[0]["topologyKey"]), (&own, &json!("zone")));
    assert_eq!(spread[1]["labelSelector"]["matchLabels"], json!({"a": "b"}));
    assert_eq!(spec["securityContext"]["runAsUser"], 7);
    assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
    assert_eq!(spec["terminationGracePeriodSeconds"], 300);
    let environment = spec["containers"][0]["env"].as_array().unwrap();
    assert!(environment.contains(&json!({"name": "GRACE_SECONDS", "value": "280"})), "{environment:?}");
}

#[test]
fn the_grace_period_is_that_of_workers_only() {
    let job = validated(|job| job.spec.worker.termination_grace_period_seconds = Some(30));
    for (program, seconds, told) in
        [(Program::Worker, 30, true), (Program::AbortUploads, 120, false), (Program::Send, 120, false)]
    {
        let spec = spec(program, &job);
        assert_eq!(spec["terminationGracePeriodSeconds"], seconds, "{program:?}");
        assert_eq!(spec.to_string().contains("GRACE_SECONDS"), told, "{program:?}");
    }
    assert!(!spec(Program::Worker, &validated(|_| ())).to_string().contains("GRACE_SECONDS"));
}

#[test]
fn volumes_of_the_user_stand_beside_ours() {
    let job = validated(|job| {
        job.spec.worker = serde_yaml::from_str(
            r"
volumes:
  - {name: scratch, emptyDir: {medium: Memory, sizeLimit: 1Gi}}
  - {name: keys, secret: {secretName: k, defaultMode: 288}}
  - {name: lists, configMap: {name: c}}
  - {name: token, projected: {sources: [{serviceAccountToken: {audience: sts.amazonaws.com, path: token}}, {secret: {name: s}}]}}
  - {name: store, csi: {driver: secrets-store.csi.k8s.io, readOnly: true}}
  - {name: node, hostPath: {path: /}}
volumeMounts:
  - {name: scratch, mountPath: /mnt/scratch}
  - {name: keys, mountPath: /mnt/keys, subPath: a, readOnly: true}
",
        )
        .unwrap();
    });
    let spec = spec(Program::Worker, &job);
    let volumes = spec["volumes"].as_array().unwrap();
    let ours = 1 + job.secrets.len();
    let expected = json!([
        {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
        {"name": "keys", "secret": {"secretName": "k", "defaultMode": 288}},
        {"name": "lists", "configMap": {"name": "c"}},
        {"name": "token", "projected": {"sources": [
            {"serviceAccountToken": {"audience": "sts.amazonaws.com", "path": "token"}}, {"secret": {"name": "s"}},
        ]}},
        {"name": "store", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": true}},
        // What the schema refuses never reaches a pod.
        {"name": "node"},
    ]);
    assert_eq!(volumes[ours..], *expected.as_array().unwrap());
    let mounts = spec["containers"][0]["volumeMounts"].as_array().unwrap();
    let expected = json!([
        {"name": "scratch", "mountPath": "/mnt/scratch"},
        {"name": "keys", "mountPath": "/mnt/keys", "subPath": "a", "readOnly": true},
    ]);
    assert_eq!(mounts[ours..], *expected.as_array().unwrap());
}

#[test]
fn what_the_operator_is_told_applies_unless_the_job_says_otherwise() {
    let mut job = validated(|_| ());
    job.pod_defaults = PodDefaults {
        image_pull_secrets: vec!["shared".to_owned()],
        log_format: Some(LogFormat::Json),
        log_level: Some(LogLevel::Warn),
        fixed_ids: false,
        ..PodDefaults::new("worker:2")
    };
    let container = |spec: &Value| spec["containers"][0].clone();
    for program in [Program::Worker, Program::Send, Program::Report] {
        let spec = spec(program, &job);
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "shared"}]), "{program:?}");
        assert_eq!(spec["securityContext"].get("runAsUser"), None);
        let environment = container(&spec)["env"].clone();
        assert!(environment.as_array().unwrap().contains(&json!({"name": "LOG_FORMAT", "value": "json"})));
    }
    job.worker.settings = serde_yaml::from_str(
        "{imagePullSecrets: [], env: [{name: LOG_FORMAT, value: text}], securityContext: {fixedIds: true}}",
    )
    .unwrap();
    let spec = spec(Program::Worker, &job);
    assert_eq!(spec.get("imagePullSecrets"), None, "an empty list means none");
    let environment = container(&spec)["env"].as_array().unwrap().clone();
    let formats: Vec<_> = environment.iter().filter(|variable| variable["name"] == "LOG_FORMAT").collect();
    assert_eq!(formats, [&json!({"name": "LOG_FORMAT", "value": "text"})]);
    assert_eq!(spec["securityContext"]["fsGroup"], 65_532);
}

/// Returns the values of a variable in a program's container.
fn values(program: Program, job: &ValidatedJob, variable: &str) -> Vec<String> {
    let spec = spec(program, job);
    let environment = spec["containers"][0]["env"].as_array().unwrap();
    let found = environment.iter().filter(|found| found["name"] == variable);
    found.map(|found| found["value"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_job_sets_the_logs_of_its_pods() {
    use clap::ValueEnum;
    let mut job = validated(|_| ());
    job.pod_defaults = PodDefaults { log_level: Some(LogLevel::Warn), ..PodDefaults::new("worker:2") };
    for program in [Program::Worker, Program::Send] {
        assert_eq!(values(program, &job, "LOG_LEVEL"), ["warn"]);
        assert_eq!(values(program, &job, "TRANSFER_LINES"), Vec::<String>::new());
    }
    for (text, expected) in [("Error", LogLevel::Error), ("Warn", LogLevel::Warn), ("Info", LogLevel::Info)] {
        job.logs =
            serde_yaml::from_str(&format!("{{format: Json, level: {text}, transferLines: Serverless}}")).unwrap();
        let [level] = &values(Program::Worker, &job, "LOG_LEVEL")[..] else { panic!("{text}") };
        assert_eq!(LogLevel::from_str(level, false), Ok(expected));
        assert_eq!(values(Program::Send, &job, "LOG_FORMAT"), ["json"]);
        assert_eq!(values(Program::Worker, &job, "TRANSFER_LINES"), ["serverless"]);
    }
    job.worker.settings.env = serde_yaml::from_str("[{name: LOG_LEVEL, value: debug}]").unwrap();
    assert_eq!(values(Program::Worker, &job, "LOG_LEVEL"), ["debug"], "what the user sets for a program stays");
}
