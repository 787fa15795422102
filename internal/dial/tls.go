package dial

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/postroom/postroom/internal/fault"
)

// pool is what was read of one CA file, and the file's state when it was.
type pool struct {
	modified time.Time
	size     int64
	cas      *x509.CertPool
}

// config returns the TLS configuration for e. The file is read again when it has changed.
func (d *Dialer) config(e Endpoint) (*tls.Config, error) {
	cas, err := d.cas(e.CAFile)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cas, ServerName: strings.TrimSuffix(e.Host, ".")}, nil
}

func (d *Dialer) cas(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil // no pool is how crypto/tls is told to use the system's
	}
	info, err := os.Stat(file)
	if err != nil {
		return nil, caFault("ca_file_unreadable", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.pools[file]; p != nil && p.modified.Equal(info.ModTime()) && p.size == info.Size() {
		return p.cas, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, caFault("ca_file_unreadable", err)
	}
	cas := x509.NewCertPool()
	if !cas.AppendCertsFromPEM(pem) {
		return nil, caFault("ca_file_empty", fmt.Errorf("%s holds no certificate in PEM", file))
	}
	if d.pools == nil {
		d.pools = make(map[string]*pool)
	}
	d.pools[file] = &pool{modified: info.ModTime(), size: info.Size(), cas: cas}
	return cas, nil
}

func caFault(code string, err error) error {
	return fault.New(fault.Permanent, code, "ca_file of the profile must name a readable PEM file of CA certificates", fmt.Errorf("CA file: %w", err))
}

// tlsFault says why a handshake failed.
func tlsFault(e Endpoint, err error) error {
	text := fmt.Errorf("TLS with %s: %w", e.Address(), err)
	if name, ok := errors.AsType[x509.HostnameError](err); ok {
		return fault.New(fault.Permanent, "certificate_name_mismatch",
			"set host of the profile to a name that the certificate is for: "+namesOf(name.Certificate), text)
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fault.New(fault.Permanent, "certificate_unknown_authority",
			fmt.Sprintf("set ca_file of the profile to the PEM of the CA that signed the certificate of %s, or let the server send its intermediate certificates", e.Host), text)
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return fault.New(fault.Permanent, "certificate_expired",
			fmt.Sprintf("renew the certificate of %s, and check this machine's clock", e.Host), text)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fault.New(fault.Permanent, "certificate_invalid", fmt.Sprintf("give %s a certificate for mail servers from a CA that is trusted here", e.Host), text)
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fault.New(fault.Transient, "tls_handshake",
			fmt.Sprintf("port %d of %s does not speak TLS at once: set tls of the profile to starttls, or port to the one of implicit TLS", e.Port, e.Host), text)
	}
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return fault.New(f.Class, f.Code, f.Hint, text) // a deadline, a stop, or a closed connection
	}
	return fault.New(fault.Transient, "tls_handshake", fmt.Sprintf("check which TLS versions %s offers: 1.2 or later is needed", e.Host), text)
}

// namesOf returns a few of the names that a certificate is for.
func namesOf(cert *x509.Certificate) string {
	names := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "it names none, only its common name, which is not looked at any more"
	}
	return ServerText(strings.Join(names[:min(len(names), 5)], ", "))
}
