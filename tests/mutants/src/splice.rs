//! Puts all mutants of one file into its code, each behind a switch, so that one build serves all.
//!
//! An expression `a < b` becomes `(if on(7) { a <= b } else { a < b })`. All changes are
//! insertions: nested expressions keep their own switches, and only one switch is on at a time.

use std::collections::HashMap;

use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::listed::{Genre, Mutant, Position};

/// Marker in front of the number of a switch; errors of the compiler are traced to it.
pub(crate) const SWITCH: &str = "crate::mutant::on(";

/// The code of a file with its switches, and the numbers of the mutants that have one.
pub(crate) struct Spliced {
    pub(crate) code: String,
    pub(crate) placed: Vec<usize>,
}

/// Splices mutants, each with its number, into the code of their file.
pub(crate) fn splice(code: &str, mutants: &[(usize, &Mutant)]) -> anyhow::Result<Spliced> {
    let mut at: HashMap<(bool, Position), Vec<(usize, &Mutant)>> = HashMap::new();
    for (number, mutant) in mutants {
        let is_body = mutant.genre == Genre::FnValue;
        at.entry((is_body, mutant.span.start)).or_default().push((*number, mutant));
    }
    let mut splicer =
        Splicer { code, at, insertions: Vec::new(), placed: Vec::new(), has_rest: false };
    splicer.visit_file(&syn::parse_file(code)?);
    let Splicer { mut insertions, placed, .. } = splicer;
    insertions.sort_by_key(|insertion| (insertion.at, insertion.order));
    let mut spliced = String::with_capacity(code.len() * 2);
    let mut done = 0;
    for insertion in insertions {
        spliced.push_str(&code[done..insertion.at]);
        spliced.push_str(&insertion.text);
        done = insertion.at;
    }
    spliced.push_str(&code[done..]);
    Ok(Spliced { code: spliced, placed })
}

/// Text that is put in front of a byte of the code.
struct Insertion {
    at: usize,
    /// At one place: ends of expressions first, the inner before the outer; then beginnings, the
    /// outer before the inner.
    order: (bool, isize, isize),
    text: String,
}

struct Splicer<'a> {
    code: &'a str,
    /// Mutants by their position, and whether that is the beginning of a function's body.
    at: HashMap<(bool, Position), Vec<(usize, &'a Mutant)>>,
    insertions: Vec<Insertion>,
    placed: Vec<usize>,
    /// Whether the `match` has an arm for all else: only then an arm can be missing.
    has_rest: bool,
}

impl<'a> Splicer<'a> {
    /// Mutants that begin where `node` begins.
    fn take(&mut self, genre: Genre, node: &impl Spanned) -> Vec<(usize, &'a Mutant)> {
        let start = node.span().start();
        let position = Position { line: start.line, column: start.column + 1 };
        let found = self.at.get(&(genre == Genre::FnValue, position)).cloned().unwrap_or_default();
        found.into_iter().filter(|(_, mutant)| mutant.genre == genre).collect()
    }

    /// Source text on one line; none where a comment would swallow the rest of that line.
    fn text(&self, node: &impl Spanned) -> Option<String> {
        let text = &self.code[node.span().byte_range()];
        (!text.contains("//")).then(|| text.replace('\n', " "))
    }

    fn wrap(&mut self, node: &impl Spanned, before: String, after: &str) {
        let range = node.span().byte_range();
        let width = isize::try_from(range.len()).unwrap_or(isize::MAX);
        // The outer one of two expressions with the same text is visited first.
        let turn = isize::try_from(self.insertions.len()).unwrap_or(isize::MAX);
        let order = (true, -width, turn);
        self.insertions.push(Insertion { at: range.start, order, text: before });
        let order = (false, width, -turn);
        self.insertions.push(Insertion { at: range.end, order, text: after.to_owned() });
    }

    /// Replaces an expression by others, each behind its switch.
    fn choose(&mut self, node: &impl Spanned, choices: Vec<(usize, String)>) {
        if choices.is_empty() {
            return;
        }
        let mut before = "(".to_owned();
        for (number, text) in choices {
            before.extend(["if ", SWITCH, &number.to_string(), ") { ", &text, " } else "]);
            self.placed.push(number);
        }
        self.wrap(node, before + "{ ", " })");
    }

    fn body(&mut self, block: &syn::Block) {
        let Some(first) = block.stmts.first() else { return };
        let mutants = self.take(Genre::FnValue, first);
        let mut text = String::new();
        for (number, mutant) in mutants {
            let value = mutant.replacement.replace('\n', " ");
            text.extend(["if ", SWITCH, &number.to_string(), ") { return ", &value, "; } "]);
            self.placed.push(number);
        }
        let at = first.span().byte_range().start;
        self.insertions.push(Insertion { at, order: (true, isize::MIN, 0), text });
    }
}

/// Whether an expression has a `let`, whose place no other expression can take.
fn has_let(expr: &syn::Expr) -> bool {
    match expr {
        syn::Expr::Let(_) => true,
        syn::Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Splicer<'_> {
    // A switch is no constant expression.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_type_array(&mut self, _: &'ast syn::TypeArray) {}

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if item.sig.constness.is_none() {
            self.body(&item.block);
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if item.sig.constness.is_none() {
            self.body(&item.block);
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.body(block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        let operands = self.text(&binary.left).zip(self.text(&binary.right));
        if let Some((left, right)) =
            operands.filter(|_| !has_let(&binary.left) && !has_let(&binary.right))
        {
            let mutants = self.take(Genre::BinaryOperator, &binary.op);
            let choices = mutants
                .into_iter()
                .map(|(number, mutant)| (number, format!("{left} {} {right}", mutant.replacement)));
            self.choose(binary, choices.collect());
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        if let Some(operand) = self.text(&unary.expr) {
            let mutants = self.take(Genre::UnaryOperator, &unary.op);
            let choices = mutants.into_iter().map(|(number, _)| (number, operand.clone()));
            self.choose(unary, choices.collect());
        }
        visit::visit_expr_unary(self, unary);
    }

    fn visit_expr_struct(&mut self, literal: &'ast syn::ExprStruct) {
        let mut choices = Vec::new();
        for field in &literal.fields {
            for (number, _) in self.take(Genre::StructField, field) {
                let others = literal.fields.iter().filter(|other| other.member != field.member);
                let others: Option<Vec<_>> = others.map(|other| self.text(other)).collect();
                let rest = literal.rest.as_ref().and_then(|rest| self.text(rest));
                let (Some(mut fields), Some(rest), Some(path)) =
                    (others, rest, self.text(&literal.path))
                else {
                    continue;
                };
                fields.push(format!("..{rest}"));
                choices.push((number, format!("{path} {{ {} }}", fields.join(", "))));
            }
        }
        self.choose(literal, choices);
        visit::visit_expr_struct(self, literal);
    }

    fn visit_expr_match(&mut self, matched: &'ast syn::ExprMatch) {
        let is_rest = |arm: &syn::Arm| {
            let any = matches!(&arm.pat, syn::Pat::Wild(_) | syn::Pat::Ident(_));
            any && arm.guard.is_none()
        };
        let outer = self.has_rest;
        self.visit_expr(&matched.expr);
        for arm in &matched.arms {
            self.has_rest = matched.arms.iter().any(is_rest);
            self.visit_arm(arm);
        }
        self.has_rest = outer;
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let mut deleted = self.take(Genre::MatchArm, arm);
        deleted.retain(|_| self.has_rest);
        let switch = deleted.first().map(|(number, _)| format!("!{SWITCH}{number})"));
        self.placed.extend(deleted.iter().map(|(number, _)| *number));
        if let Some((_, guard)) = &arm.guard {
            let mut mutants = self.take(Genre::MatchArmGuard, guard.as_ref());
            // `true || !false && guard`: the order matters.
            mutants.sort_by_key(|(_, mutant)| mutant.replacement != "true");
            if has_let(guard) || (mutants.is_empty() && switch.is_none()) {
                return visit::visit_arm(self, arm);
            }
            let mut before = switch.map(|switch| format!("{switch} && ")).unwrap_or_default();
            before.push('(');
            for (number, mutant) in mutants {
                let switch = format!("{SWITCH}{number})");
                let is_true = mutant.replacement == "true";
                before.extend(if is_true { ["", &switch, " || "] } else { ["!", &switch, " && "] });
                self.placed.push(number);
            }
            self.wrap(guard.as_ref(), before + "(", "))");
        } else if let Some(switch) = switch {
            let at = arm.pat.span().byte_range().end;
            let text = format!(" if {switch}");
            self.insertions.push(Insertion { at, order: (false, isize::MAX, 0), text });
        }
        visit::visit_arm(self, arm);
    }
}
