//! Commands to look around with, as `demo --keep` prints them.

use std::path::Path;

use super::acts::SHORT;

/// Returns the commands for a shell, in an order in which each works.
pub(super) fn commands(kubeconfig: &Path, program: &Path) -> Vec<String> {
    let (kubeconfig, program) = (quoted(kubeconfig), quoted(program));
    vec![
        format!("export KUBECONFIG={kubeconfig}"),
        "kubectl get ingress,secret,events -A".to_owned(),
        format!("kubectl describe ingress {SHORT}"),
        format!("{program} status -A"),
        format!("{program} explain {SHORT}"),
        format!("{program} renew {SHORT}"),
        "kubectl create ingress shop --rule='shop.example.com/*=shop:80'".to_owned(),
        "kubectl wait --for=create secret/shop-tls --timeout=1m".to_owned(),
        format!("{program} status"),
    ]
}

/// Quotes a path for a shell, where the path needs quotes.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+".contains(letter);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_where_a_shell_would_split_or_expand_it() {
        assert_eq!(quoted(Path::new("/tmp/a-1/admin.kubeconfig")), "/tmp/a-1/admin.kubeconfig");
        assert_eq!(quoted(Path::new("/my files/$x")), "'/my files/$x'");
        assert_eq!(quoted(Path::new("/it's")), r"'/it'\''s'");
    }
}
