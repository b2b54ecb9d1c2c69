// Headers answers with what it was told about a request, as JSON. It speaks
// HTTPS only, with a key pair that it makes when it starts: what goes from the
// edge to it is encrypted, too.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"log"
	"math/big"
	"net/http"
	"os"
	"time"
)

func main() {
	pair, err := selfSigned()
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", echo)
	mux.HandleFunc("/broken", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "this text is replaced by errors/5xx.html", http.StatusInternalServerError)
	})
	server := &http.Server{
		Addr: ":" + port(), Handler: mux, ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS13},
	}
	log.Printf("listening on %s with TLS", server.Addr)
	log.Fatal(server.ListenAndServeTLS("", ""))
}

func port() string {
	if p := os.Getenv("PORT"); p != "" {
		return p
	}
	return "5000"
}

// echo writes the request's headers, and how it came.
func echo(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	err := out.Encode(map[string]any{
		"method": r.Method, "path": r.URL.RequestURI(), "host": r.Host, "protocol": r.Proto, "tls": r.TLS != nil, "headers": r.Header,
	})
	if err != nil {
		log.Print(err)
	}
}

// selfSigned makes a key pair that is good for as long as the process may live.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "headers"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
	}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{cert}, PrivateKey: key}, err
}
