#!/bin/sh
# Make the passwords and tokens of the development installation in the folder $1, each once.
set -eu
cd "${1:?usage: secrets.sh FOLDER}"

for name in mqtt_password influx_password influx_token grafana_password postgres_password; do
  if [ ! -s "$name" ]; then
    head -c 64 /dev/urandom | base64 | tr -dc 'A-Za-z0-9' | head -c 40 >"$name.new"
    mv "$name.new" "$name"
  fi
  chmod 0444 "$name"
done

# Mosquitto keeps hashes, in a file that nobody else may read; in its image it runs as 1883.
printf 'flowrunner:%s\n' "$(cat mqtt_password)" >mosquitto_passwords.new
mosquitto_passwd -U mosquitto_passwords.new
chmod 0400 mosquitto_passwords.new
if [ "$(id -u)" = 0 ]; then chown 1883:1883 mosquitto_passwords.new; fi
mv -f mosquitto_passwords.new mosquitto_passwords
