package mailtest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// CA is a certificate authority of one test.
type CA struct {
	File string // PEM of its certificate, for mailbox.Profile.CAFile
	cert *x509.Certificate
	key  crypto.Signer
}

// NewCA makes an authority with its certificate in a file of the test's.
func NewCA(tb testing.TB) *CA {
	tb.Helper()
	return newCA(tb, tb.TempDir())
}

func newCA(tb testing.TB, dir string) *CA {
	tb.Helper()
	key := newKey(tb)
	template := &x509.Certificate{
		SerialNumber:          serial(tb),
		Subject:               pkix.Name{CommonName: "Postroom test CA"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(24 * time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatalf("make a CA: %v", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatalf("read the CA's own certificate: %v", err)
	}
	ca := &CA{File: filepath.Join(dir, "ca.pem"), cert: cert, key: key}
	writePEM(tb, ca.File, "CERTIFICATE", der)
	return ca
}

// Certificate is what a server's certificate says. The zero value is good for localhost, 127.0.0.1 and ::1, today.
type Certificate struct {
	Names    []string  // DNS names and IP addresses; nil: those of this machine
	NotAfter time.Time // zero: tomorrow
}

// Expired is a Certificate that was good until an hour ago.
func Expired() Certificate { return Certificate{NotAfter: time.Now().Add(-time.Hour)} }

// WrongName is a Certificate for another host.
func WrongName() Certificate { return Certificate{Names: []string{"mail.example.net"}} }

// Issue makes a certificate and its key, for a scripted server.
func (ca *CA) Issue(tb testing.TB, c Certificate) tls.Certificate {
	tb.Helper()
	certFile, keyFile := ca.IssueFiles(tb, tb.TempDir(), c)
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		tb.Fatalf("load the server's certificate: %v", err)
	}
	return pair
}

// IssueFiles makes a certificate and its key as PEM files in dir.
func (ca *CA) IssueFiles(tb testing.TB, dir string, c Certificate) (certFile, keyFile string) {
	tb.Helper()
	if c.Names == nil {
		c.Names = []string{"localhost", "127.0.0.1", "::1"}
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(24 * time.Hour)
	}
	template := &x509.Certificate{
		SerialNumber: serial(tb),
		Subject:      pkix.Name{CommonName: c.Names[0]},
		NotBefore:    time.Now().Add(-48 * time.Hour),
		NotAfter:     c.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, name := range c.Names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	key := newKey(tb)
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, key.Public(), ca.key)
	if err != nil {
		tb.Fatalf("make a server certificate: %v", err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatalf("encode the server's key: %v", err)
	}
	certFile, keyFile = filepath.Join(dir, "server.pem"), filepath.Join(dir, "server.key")
	writePEM(tb, certFile, "CERTIFICATE", der)
	writePEM(tb, keyFile, "PRIVATE KEY", keyDER)
	return certFile, keyFile
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatalf("make a key: %v", err)
	}
	return key
}

func serial(tb testing.TB) *big.Int {
	tb.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		tb.Fatalf("make a serial number: %v", err)
	}
	return n
}

func writePEM(tb testing.TB, path, kind string, der []byte) {
	tb.Helper()
	// The keys are of this test alone; Dovecot reads them as another user when the tests run as one.
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		tb.Fatalf("write a %s: %v", kind, err)
	}
}
