//! Accounts (RFC 8555 §7.3): key, contacts, status. Accounts are never forgotten; there are few.

use std::collections::HashMap;

use jiff::Timestamp;

use super::jws::Jwk;
use super::problem::Problem;

/// Number of an account, from 1.
pub(super) type AccountId = u64;

/// One account.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) id: AccountId,
    pub(super) key: Jwk,
    /// Key thumbprint, the last part of every key authorization.
    pub(super) thumbprint: String,
    pub(super) contacts: Vec<String>,
    pub(super) deactivated: bool,
    pub(super) created: Timestamp,
}

/// All accounts, by id and by key.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    all: Vec<Account>,
    by_key: HashMap<Jwk, AccountId>,
}

impl Accounts {
    /// Returns the account of a key.
    pub(super) fn of_key(&self, key: &Jwk) -> Option<&Account> {
        self.by_key.get(key).and_then(|id| self.get(*id))
    }

    pub(super) fn get(&self, id: AccountId) -> Option<&Account> {
        self.all.get(usize::try_from(id.checked_sub(1)?).ok()?)
    }

    fn get_mut(&mut self, id: AccountId) -> Option<&mut Account> {
        self.all.get_mut(usize::try_from(id.checked_sub(1)?).ok()?)
    }

    /// Returns the account if known and not deactivated.
    pub(super) fn active(&self, id: AccountId) -> Result<&Account, Problem> {
        let unknown = || Problem::new(400, "accountDoesNotExist", "Account not found");
        let account = self.get(id).ok_or_else(unknown)?;
        if account.deactivated {
            let detail = "Account is not valid, has status \"deactivated\"";
            return Err(Problem::unauthorized(detail));
        }
        Ok(account)
    }

    pub(super) fn create(&mut self, key: Jwk, contacts: Vec<String>, now: Timestamp) -> &Account {
        let id = self.all.len() as u64 + 1;
        self.by_key.insert(key.clone(), id);
        let thumbprint = key.thumbprint();
        let account = Account { id, key, thumbprint, contacts, deactivated: false, created: now };
        self.all.push(account);
        &self.all[self.all.len() - 1]
    }

    /// Changes the contacts, or deactivates the account for good (RFC 8555 §7.3.2, §7.3.6).
    pub(super) fn update(
        &mut self,
        id: AccountId,
        contacts: Option<Vec<String>>,
        status: Option<&str>,
    ) -> Result<Account, Problem> {
        self.active(id)?;
        match status {
            None | Some("valid" | "deactivated") => {}
            Some(_) => return Err(Problem::malformed("Invalid value for status field")),
        }
        let account = self.get_mut(id).ok_or_else(|| Problem::malformed("no such account"))?;
        if let Some(contacts) = contacts {
            account.contacts = contacts;
        }
        account.deactivated = status == Some("deactivated");
        Ok(account.clone())
    }

    /// Replaces the key of the account (RFC 8555 §7.3.5).
    pub(super) fn change_key(
        &mut self,
        id: AccountId,
        old: &Jwk,
        new: Jwk,
    ) -> Result<Account, Problem> {
        if self.active(id)?.key != *old {
            return Err(Problem::malformed("oldKey is not the account's key"));
        }
        if let Some(existing) = self.of_key(&new) {
            let detail = "New key is already in use for a different account";
            let existing = Some(existing.id);
            return Err(Problem { existing, ..Problem::new(409, "malformed", detail) });
        }
        self.by_key.remove(old);
        self.by_key.insert(new.clone(), id);
        let account = self.get_mut(id).ok_or_else(|| Problem::malformed("no such account"))?;
        account.thumbprint = new.thumbprint();
        account.key = new;
        Ok(account.clone())
    }
}

/// Checks that all contacts are mail addresses, the only kind accepted (RFC 8555 §7.3).
pub(super) fn check_contacts(contacts: &[String]) -> Result<(), Problem> {
    for contact in contacts {
        let Some(mail) = contact.strip_prefix("mailto:") else {
            let detail = format!("Only contact scheme 'mailto:' is supported, not {contact:?}");
            return Err(Problem::new(400, "unsupportedContact", detail));
        };
        if !mail.split_once('@').is_some_and(|(user, host)| !user.is_empty() && host.contains('.'))
        {
            let detail = format!("Unable to parse email address {mail:?}");
            return Err(Problem::new(400, "invalidContact", detail));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Jwk {
        Jwk::of_point(&[number; 65]).unwrap()
    }

    #[test]
    fn an_account_is_found_by_its_key_also_after_that_changed() {
        let mut accounts = Accounts::default();
        let id = accounts.create(key(1), Vec::new(), Timestamp::UNIX_EPOCH).id;
        let other = accounts.create(key(2), Vec::new(), Timestamp::UNIX_EPOCH).id;
        let conflict = accounts.change_key(id, &key(1), key(2)).unwrap_err();
        assert_eq!((conflict.status, conflict.existing), (409, Some(other)));
        assert!(accounts.change_key(id, &key(3), key(4)).is_err());
        accounts.change_key(id, &key(1), key(3)).unwrap();
        assert_eq!(accounts.of_key(&key(3)).map(|account| account.id), Some(id));
        assert!(accounts.of_key(&key(1)).is_none());
    }

    #[test]
    fn a_deactivated_account_may_nothing() {
        let mut accounts = Accounts::default();
        let id = accounts.create(key(1), Vec::new(), Timestamp::UNIX_EPOCH).id;
        assert!(accounts.update(id, None, Some("gone")).is_err());
        accounts.update(id, None, Some("deactivated")).unwrap();
        assert_eq!(accounts.active(id).unwrap_err().kind, "unauthorized");
        assert_eq!(accounts.active(7).unwrap_err().kind, "accountDoesNotExist");
        assert_eq!(accounts.active(0).unwrap_err().kind, "accountDoesNotExist");
    }

    #[test]
    fn contacts_are_mail_addresses() {
        let check = |contact: &str| check_contacts(&[contact.to_owned()]).map_err(|bad| bad.kind);
        assert_eq!(check("mailto:ops@example.com"), Ok(()));
        assert_eq!(check("mailto:ops"), Err("invalidContact"));
        assert_eq!(check("tel:1"), Err("unsupportedContact"));
    }
}
