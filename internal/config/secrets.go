package config

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/postroom/postroom/internal/fault"
	"github.com/postroom/postroom/internal/secret"
)

// CredentialsDir returns $CREDENTIALS_DIRECTORY, where systemd puts a service's credentials; "" if it is not set.
func (c *Config) CredentialsDir() string { return c.credentialsDir }

// DatabaseDir returns the folder of the PostgreSQL that Postroom starts by itself when database.url is empty.
func (c *Config) DatabaseDir() string { return filepath.Join(c.DataDir, "postgresql") }

// DatabaseURL returns database.url with the password of database.password_file, or without that key, of the systemd
// credential database_password if there is one. It is "" if database.url is. The URL is a secret: never show it.
//
// Errors are those of secret.Resolve.
func (c *Config) DatabaseURL() (string, error) {
	ref := c.passwordRef()
	if c.Database.URL == "" || ref == "" {
		return c.Database.URL, nil
	}
	password, err := secret.Resolve(ref, c.credentialsDir)
	if err != nil {
		return "", fault.Wrap(err, "read database.password_file")
	}
	u, err := url.Parse(c.Database.URL)
	if err != nil { // Load has parsed it
		return "", fault.New(fault.Permanent, "database_url_invalid", "mend database.url", nil)
	}
	// Not in the user part: that needs a user name, which the URL may leave to the system. A plus sign is no blank here.
	parameter := "password=" + strings.ReplaceAll(url.QueryEscape(password), "+", "%20")
	if u.RawQuery != "" {
		parameter = u.RawQuery + "&" + parameter
	}
	u.RawQuery = parameter
	return u.String(), nil
}

// secretWarnings returns what an admin should mend about the files of secrets, one sentence each.
func (c *Config) secretWarnings() []string {
	if ref := c.passwordRef(); ref != "" {
		return secret.Warnings(ref)
	}
	return nil
}

// passwordRef returns where the database's password is, in the form of package secret; "": nowhere.
func (c *Config) passwordRef() string {
	switch file := c.Database.PasswordFile; {
	case filepath.IsAbs(file):
		return "file:" + file
	case file != "":
		return file // credential:name
	case c.credentialsDir != "" && !hasPassword(c.Database.URL):
		if _, err := os.Stat(filepath.Join(c.credentialsDir, PasswordCredential)); err == nil {
			return "credential:" + PasswordCredential
		}
	}
	return ""
}

func hasPassword(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	_, inUser := u.User.Password()
	return inUser || u.Query().Has("password")
}
