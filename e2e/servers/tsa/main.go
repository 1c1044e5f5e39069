// Command tsa serves Sigstore's timestamp authority on one loopback port.
//
// The released timestamp-server opens port 2112 on every interface for its metrics and gives up when
// the port is taken; it has no flag for that. This is the same REST service without it.
package main

import (
	"flag"
	"log"
	"time"

	"github.com/sigstore/timestamp-authority/v2/pkg/server"
	"github.com/spf13/viper"
)

func main() {
	port := flag.Int("port", 0, "port of 127.0.0.1 to serve on")
	key := flag.String("key", "", "PEM file of the signing key")
	chain := flag.String("chain", "", "PEM file of the key's certificates, leaf first")
	flag.Parse()
	args := *key != "" && *chain != "" && *port != 0
	if !args || flag.NArg() > 0 {
		log.Fatal("usage: tsa -port PORT -key FILE -chain FILE")
	}
	// The service reads its settings from viper, under the names of the released command's flags.
	const policy = "1.3.6.1.4.1.57264.2"
	for name, value := range map[string]any{
		"timestamp-signer":         "file",
		"timestamp-signer-hash":    "sha256",
		"file-signer-key-path":     *key,
		"certificate-chain-path":   *chain,
		"enforce-intermediate-eku": true,
		"default-policy-oid":       policy,
		"accepted-policy-oids":     []string{policy},
		"max-request-body-size":    uint64(1 << 20),
	} {
		viper.Set(name, value)
	}
	const patience = 10 * time.Second
	log.Fatal(server.NewRestAPIServer("127.0.0.1", *port, []string{"http"}, false, patience, patience).Serve())
}
