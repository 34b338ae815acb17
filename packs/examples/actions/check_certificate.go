// Command check_certificate reports whose an X.509 certificate is and how long it lasts.
package main

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"
)

type parameters struct {
	Path             string `json:"path"`
	PEM              string `json:"pem"`
	Host             string `json:"host"`
	WarnDays         int    `json:"warn_days"`
	FailWhenExpiring bool   `json:"fail_when_expiring"`
}

type report struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Hosts     []string  `json:"hosts"`
	NotBefore time.Time `json:"not_before"` // encoded as RFC 3339
	NotAfter  time.Time `json:"not_after"`
	DaysLeft  int       `json:"days_left"`
	Status    string    `json:"status"`
	SHA256    string    `json:"sha256"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "check_certificate:", err)
		os.Exit(1)
	}
}

func run() error {
	var p parameters
	content, err := os.ReadFile(os.Getenv("ATTUNE_PARAMETERS_FILE"))
	if err == nil {
		err = json.Unmarshal(content, &p)
	}
	if err != nil {
		return fmt.Errorf("cannot read the parameters: %w", err)
	}

	text, source := []byte(p.PEM), "the parameter pem"
	if p.PEM == "" {
		source = p.Path
		if !filepath.IsAbs(p.Path) {
			p.Path = filepath.Join(os.Getenv("ATTUNE_PACK_DIR"), p.Path)
		}
		if text, err = os.ReadFile(p.Path); err != nil {
			return err
		}
	}
	block, rest := pem.Decode(text)
	for block != nil && block.Type != "CERTIFICATE" { // a key may come first
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return fmt.Errorf("no PEM certificate in %s", source)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}

	r := describe(certificate, time.Now(), p.WarnDays)
	fmt.Fprintf(os.Stderr, "subject  %s\nissuer   %s\nhosts    %v\n", r.Subject, r.Issuer, r.Hosts)
	fmt.Fprintf(os.Stderr, "valid    until %s, %d days left: %s\n", r.NotAfter.Format("2 January 2006"), r.DaysLeft, r.Status)
	if p.Host != "" {
		if err := certificate.VerifyHostname(p.Host); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "host     %s is covered\n", p.Host)
	}
	if p.FailWhenExpiring && r.Status != "ok" {
		return fmt.Errorf("the certificate of %s is %s (%d days left)", r.Subject, r.Status, r.DaysLeft)
	}
	return json.NewEncoder(os.Stdout).Encode(r)
}

func describe(c *x509.Certificate, now time.Time, warnDays int) report {
	r := report{
		Subject: c.Subject.String(), Issuer: c.Issuer.String(), Hosts: append([]string{}, c.DNSNames...),
		NotBefore: c.NotBefore, NotAfter: c.NotAfter,
		DaysLeft: int(math.Floor(float64(c.NotAfter.Unix()-now.Unix()) / 86400)), // time.Duration ends at 292 years
		SHA256:   fmt.Sprintf("%x", sha256.Sum256(c.Raw)),
	}
	for _, address := range c.IPAddresses {
		r.Hosts = append(r.Hosts, address.String())
	}
	switch {
	case now.Before(c.NotBefore):
		r.Status = "not_yet_valid"
	case now.After(c.NotAfter):
		r.Status = "expired"
	case r.DaysLeft < warnDays:
		r.Status = "expiring"
	default:
		r.Status = "ok"
	}
	return r
}
