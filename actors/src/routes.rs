//! Solver routes: the route keeper directs HTTP-01 challenges to the solver by shared solver
//! Ingresses.

pub(crate) mod keeper;
