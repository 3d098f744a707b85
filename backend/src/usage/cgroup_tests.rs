//! Limits from text: version 2, version 1, mixtures, none.

use super::*;

const HOST: Limits = Limits { cores: 8.0, memory_bytes: 16_000 };

/// A directory tree for one test, removed afterwards.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("backend-cgroup-{}-{name}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        Self(root)
    }

    fn limits(&self) -> Limits {
        Limits::read(&self.0, HOST)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn nothing_there_is_the_host() {
    assert_eq!(Tree::new("none", &[]).limits(), HOST);
}

#[test]
fn version_2_in_its_own_namespace() {
    let tree = Tree::new(
        "v2",
        &[
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
            ("sys/fs/cgroup/memory.max", "4096\n"),
        ],
    );
    assert_eq!(tree.limits(), Limits { cores: 0.5, memory_bytes: 4096 });
}

#[test]
fn version_2_without_limits() {
    let tree = Tree::new(
        "v2max",
        &[
            ("proc/self/cgroup", "0::/a\n"),
            ("sys/fs/cgroup/a/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/a/memory.max", "max\n"),
        ],
    );
    assert_eq!(tree.limits(), HOST);
}

#[test]
fn the_tightest_ancestor_binds() {
    let tree = Tree::new(
        "nested",
        &[
            ("proc/self/cgroup", "0::/pod/container\n"),
            ("sys/fs/cgroup/pod/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/pod/container/cpu.max", "400000 100000\n"),
            ("sys/fs/cgroup/pod/memory.max", "9000\n"),
            ("sys/fs/cgroup/pod/container/memory.max", "5000\n"),
        ],
    );
    assert_eq!(tree.limits(), Limits { cores: 1.5, memory_bytes: 5000 });
}

#[test]
fn version_1_whose_own_path_is_not_visible() {
    let tree = Tree::new(
        "v1",
        &[
            ("proc/self/cgroup", "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "200000\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000\n"),
        ],
    );
    assert_eq!(tree.limits(), Limits { cores: 2.0, memory_bytes: 1000 });
}

#[test]
fn version_1_without_limits() {
    let tree = Tree::new(
        "v1max",
        &[
            ("proc/self/cgroup", "4:memory:/\n1:cpu:/\n0::/\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ],
    );
    assert_eq!(tree.limits(), HOST);
}

#[test]
fn pinning_counts_like_a_limit() {
    let tree = Tree::new("pinned", &[("proc/self/status", "Name:\tx\nCpus_allowed_list:\t0-1,5\n")]);
    assert_eq!(tree.limits(), Limits { cores: 3.0, ..HOST });
}

#[test]
fn rubbish_is_no_limit() {
    for text in ["", "max", "nan 100000", "-5 100000", "100000 0", "100000"] {
        assert_eq!(cores_v2(text), None, "{text:?}");
    }
    assert_eq!(bytes("0"), None);
    assert_eq!(bytes("-1"), None);
    for list in ["Cpus_allowed_list: 3-1", "Cpus_allowed_list: a", "Cpus_allowed_list:", "other"] {
        assert_eq!(allowed_cpus(list), None, "{list:?}");
    }
}

#[test]
fn the_process_of_this_test_may_use_something() {
    let limits = Limits::read(Path::new("/"), HOST);
    assert!(limits.cores > 0.0 && limits.memory_bytes > 0, "{limits:?}");
}
