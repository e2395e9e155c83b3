// What a person can do about an image that failed, by its code.

const HOST = "The host was not to be had. Retry later.";
const ADVICE = {
  http_401: "The host wants a login. FETCH_HEADERS_FILE can give it one.",
  http_403: "The host refuses us. Ask its owner, or give it headers by FETCH_HEADERS_FILE.",
  http_404: "Nothing is there any more. Mend the address in the catalogue.",
  http_410: "It was removed for good. Mend the address in the catalogue.",
  http_429: "The host wants fewer calls. Retry later.",
  dns: "There is no such host, or its name server is away. Check the name, or retry later.",
  connect: HOST,
  timeout: "The host was too slow. Retry later.",
  tls_expired: "The host's certificate has ended. Its owner must renew it.",
  tls_untrusted: "The host's certificate is not trusted here. CA_BUNDLE can name its authority.",
  tls_host: "The certificate belongs to another name. Check the address.",
  too_many_redirects: "The host sends us in circles. Open the address and take the one it ends at.",
  forbidden_address: "The address is not public. If that is meant, whoever runs the service can allow it.",
  too_large: "The file is above MAX_IMAGE_BYTES. Put a smaller one there.",
  not_an_image: "A page or text came instead of a picture. Open the address and see.",
  unsupported_format: "Save it as JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF.",
  truncated: "The file ends too early. Upload it to its host again.",
  too_many_pixels: "The picture is above MAX_IMAGE_PIXELS. Put a smaller one there.",
  too_many_frames: "The animation is above MAX_IMAGE_FRAMES. Shorten it.",
  decode_failed: "The file is damaged. Save the picture anew.",
  poison: "Reading the file crashed a worker. Save the picture anew.",
};

export function adviceOn({ code, permanent }) {
  if (ADVICE[code]) return ADVICE[code];
  if (/^http_5/.test(code)) return "The host has a fault of its own. Retry later.";
  return permanent ? "Open the address and see what is there." : HOST;
}
