public class Verify {
    public static void main(String[] arguments) {
        System.out.println("this interpreter runs scripts");
    }
}
