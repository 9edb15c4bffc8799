# Chromium for the playground's browser tests: installed where it is missing and that is possible, else said plainly.
for name in chromium chromium-browser google-chrome google-chrome-stable; do
  command -v "$name" >/dev/null && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing Chromium for the tests of the playground"
  apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null && exit 0
fi
echo "No Chromium here, and it cannot be installed: the playground's browser tests are skipped. (apt-get install chromium)"
