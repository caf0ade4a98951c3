//! Black-box tests of the installed chart on the cluster of `KUBECONFIG`, and their environment: local services behind
//! counting proxies, a tree of real files, and a demo. The programs are also tested by
//! themselves, see [`wire`] and [`local`].

pub mod api_proxy;
pub mod audit;
pub mod autoscalers;
pub mod case;
pub mod cases;
pub mod chart;
pub mod checker;
pub mod demo;
pub mod helm;
pub mod kubernetes;
pub mod local;
pub mod logs;
pub mod paths;
pub mod pods;
pub mod process;
pub mod programs;
pub mod prometheus;
pub mod proxy;
pub mod receiver;
pub mod report;
pub mod seeded;
pub mod services;
pub mod tls;
pub mod tree;
pub mod wait;
pub mod wire;
pub mod yaml;
