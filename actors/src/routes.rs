//! Routes: the keeper leads challenges to the solver by shared solver Ingresses.

pub mod keeper;
