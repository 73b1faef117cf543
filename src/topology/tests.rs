// SPDX-License-Identifier: GPL-2.0-only
//! Made-up machines, arranged and read.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use proptest::prelude::*;

use super::*;

fn listed(id: usize, cpus: &[usize], distances: &[usize]) -> (usize, Listed) {
    (
        id,
        Listed {
            cpus: cpus.to_vec(),
            distances: distances.to_vec(),
        },
    )
}

#[test]
fn ids_with_gaps_become_indices() {
    let nodes = BTreeMap::from([
        listed(0, &[2, 0], &[10, 21, 32]),
        listed(4, &[1], &[21, 10, 15]),
        listed(9, &[3], &[32, 15, 10]),
    ]);
    let machine = arrange(&nodes, &[0, 1, 2, 3], 4, false).unwrap();
    let ids: Vec<usize> = machine.nodes.iter().map(|node| node.id).collect();
    assert_eq!(ids, [0, 4, 9]);
    assert_eq!(machine.nodes[0].cpus, [0, 2]);
    assert_eq!(machine.cpu_node, [0, 1, 0, 2]);
    assert_eq!(machine.nodes[2].distances, [32, 15, 10]);
}

#[test]
fn caches_are_told_apart_where_there_is_a_choice() {
    let told = |caches: &[(usize, &[u16])]| {
        told_apart(caches.iter().map(|&(cores, cpus)| (cores, cpus.to_vec())))
    };
    assert_eq!(told(&[(2, &[0, 1]), (2, &[2, 3])]), [[0, 1], [2, 3]]);
    assert!(told(&[(4, &[0, 1, 2, 3])]).is_empty());
    assert!(told(&[(1, &[0]), (1, &[1]), (1, &[2])]).is_empty());
    assert!(told(&[(2, &[0, 1]), (1, &[2])]).is_empty());
}

#[test]
fn nodes_of_memory_alone_are_left_out_of_nodes_and_distances() {
    let nodes = BTreeMap::from([
        listed(0, &[0], &[10, 17, 20, 28]),
        listed(1, &[], &[17, 10, 28, 28]),
        listed(2, &[1], &[20, 28, 10, 17]),
        listed(3, &[], &[28, 28, 17, 10]),
    ]);
    let machine = arrange(&nodes, &[0, 1], 2, false).unwrap();
    assert_eq!(machine.nodes[0].distances, [10, 20]);
    assert_eq!(machine.nodes[1].distances, [20, 10]);
    assert_eq!(machine.nodes[1].id, 2);
}

#[test]
fn offline_cpus_and_nodes_keep_their_place() {
    let nodes = BTreeMap::from([
        listed(0, &[0, 1], &[10, 30, 40]),
        listed(1, &[2, 3], &[30, 10, 15]),
        listed(2, &[4], &[40, 15, 10]),
    ]);
    let machine = arrange(&nodes, &[0, 2], 6, true).unwrap();
    assert_eq!(machine.nodes.len(), 3);
    assert_eq!(machine.nodes[1].cpus, [2, 3]);
    assert_eq!(machine.nodes[2].cpus, [4]);
    assert_eq!(machine.cpu_node, [0, 0, 1, 1, 2, 0]);
    assert_eq!(machine.online, [true, false, true, false, false, false]);
}

#[test]
fn absent_distances_are_the_kernels_own() {
    let nodes = BTreeMap::from([listed(0, &[0], &[]), listed(1, &[1], &[21])]);
    let machine = arrange(&nodes, &[0, 1], 2, false).unwrap();
    assert_eq!(machine.nodes[0].distances, [10, 20]);
    assert_eq!(machine.nodes[1].distances, [21, 10]);
}

#[test]
fn machines_beyond_the_wire_are_refused() {
    let nodes = (0..65).map(|id| listed(id, &[id], &[])).collect();
    let online: Vec<usize> = (0..65).collect();
    let refusal = arrange(&nodes, &online, 65, false).unwrap_err().to_string();
    assert_eq!(
        refusal,
        "the machine has 65 NUMA nodes with CPUs and scx_mpg handles 64"
    );
    assert!(matches!(
        arrange(&nodes, &online, MAX_CPUS + 1, false),
        Err(TopologyError::TooManyCpus(4097))
    ));
    assert!(matches!(
        arrange(&nodes, &[], 65, false),
        Err(TopologyError::NoCpu)
    ));
    assert!(matches!(
        arrange(&BTreeMap::new(), &[0], 1, false),
        Err(TopologyError::NoCpu)
    ));
}

proptest! {
    /// Whatever the shape: CPUs are in one node each, and the tables agree with each other.
    #[test]
    fn arranged_machines_are_consistent(
        // For each CPU id: the node that lists it, if any, and whether it is online.
        cpus in proptest::collection::vec((proptest::option::of(0usize..12), any::<bool>()), 1..80),
        distances in proptest::collection::vec(proptest::collection::vec(0usize..256, 0..14), 12),
        gap in 1usize..5,
    ) {
        let mut nodes: BTreeMap<usize, Listed> = (0..12)
            .map(|n| (n * gap, Listed { cpus: vec![], distances: distances[n].clone() }))
            .collect();
        let mut online = Vec::new();
        for (cpu, &(node, up)) in cpus.iter().enumerate() {
            let Some(node) = node else { continue };
            nodes.get_mut(&(node * gap)).unwrap().cpus.push(cpu);
            if up {
                online.push(cpu);
            }
        }
        let Ok(machine) = arrange(&nodes, &online, cpus.len(), false) else {
            prop_assert!(online.is_empty());
            return Ok(());
        };
        let mut seen = vec![false; cpus.len()];
        for (index, node) in machine.nodes.iter().enumerate() {
            prop_assert_eq!(node.distances.len(), machine.nodes.len());
            prop_assert!(node.distances.iter().all(|&d| d > 0));
            prop_assert!(node.cpus.is_sorted());
            prop_assert!(!node.cpus.is_empty());
            for &cpu in &node.cpus {
                prop_assert!(!std::mem::replace(&mut seen[cpu as usize], true));
                prop_assert_eq!(machine.cpu_node[cpu as usize] as usize, index);
            }
        }
        for (cpu, &(node, up)) in cpus.iter().enumerate() {
            prop_assert_eq!(seen[cpu], node.is_some());
            prop_assert_eq!(machine.online[cpu], up && node.is_some());
            if let Some(node) = node {
                prop_assert_eq!(machine.nodes[machine.cpu_node[cpu] as usize].id, node * gap);
            }
        }
    }
}

/// A tree like the kernel's: nodes 0, 1 (memory alone) and 3, CPU 5 offline, CPUs 6 and 7 absent.
fn made_up_tree() -> PathBuf {
    let root = std::env::temp_dir().join(format!("mpg_topology_{}", std::process::id()));
    let _ = fs::remove_dir_all(&root);
    let sys = root.join("sys/devices/system");
    let put = |path: &str, text: &str| {
        let path = sys.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    put("cpu/online", "0-4\n");
    put("cpu/possible", "0-7\n");
    put("cpu/smt/active", "1\n");
    for cpu in 0..6 {
        put(
            &format!("cpu/cpu{cpu}/topology/core_id"),
            &format!("{}\n", cpu / 2),
        );
        put(&format!("cpu/cpu{cpu}/topology/physical_package_id"), "0\n");
        put(&format!("cpu/cpu{cpu}/topology/cluster_id"), "-1\n");
        put(
            &format!("cpu/cpu{cpu}/cache/index3/id"),
            &format!("{}\n", cpu / 4),
        );
    }
    for (id, distances, cpus) in [
        (0, "10 17 28\n", 0..4),
        (1, "17 10 28\n", 0..0),
        (3, "28 28 10\n", 4..6),
    ] {
        put(&format!("node/node{id}/distance"), distances);
        for cpu in cpus {
            let link = sys.join(format!("node/node{id}/cpu{cpu}"));
            symlink(sys.join(format!("cpu/cpu{cpu}")), link).unwrap();
        }
    }
    root
}

/// scx_utils takes its root from the environment once, so the reading has a process to itself.
#[test]
fn a_tree_is_read() {
    let root = made_up_tree();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "topology::tests::the_machine_under_the_test_is_read",
        ])
        .env("SCX_SYSFS_PREFIX", &root)
        .output()
        .unwrap();
    fs::remove_dir_all(&root).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{output:?}"
    );
}

/// The made-up tree where `a_tree_is_read` says so, else the machine that runs the tests.
#[test]
fn the_machine_under_the_test_is_read() {
    let machine = Machine::read().unwrap();
    if ROOT_PREFIX.is_empty() {
        assert!(machine.online.iter().any(|&online| online));
        return;
    }
    assert_eq!(machine.nr_cpu_ids, 8);
    assert!(machine.smt);
    assert_eq!(machine.cpu_node, [0, 0, 0, 0, 1, 1, 0, 0]);
    assert_eq!(
        machine.online,
        [true, true, true, true, true, false, false, false]
    );
    let expected = NodeInfo {
        id: 3,
        cpus: vec![4, 5],
        distances: vec![28, 10],
    };
    assert_eq!(machine.nodes[1], expected);
    assert_eq!(machine.nodes[0].distances, [10, 28]);
}
